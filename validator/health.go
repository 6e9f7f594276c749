package validator

import "fmt"

const jobFeed = "listening for revocations"

// consequence describes the effect of a failing job that does not make the service fail.
var consequence = map[string]string{
	jobFeed: ": they are fetched from the broker over HTTP every 3 s instead of arriving within milliseconds; tokens are validated as before",
}

// checkLink records the fault that the feed reports, if any.
func (s *syncer) checkLink() {
	if s.link != nil {
		s.jobDone(jobFeed, s.link.Err())
	}
}

// jobDone records whether a job works, and logs when that changes.
func (s *syncer) jobDone(job string, err error) {
	s.mu.Lock()
	if err == nil {
		delete(s.broken, job)
	} else {
		s.broken[job] = err
	}
	s.mu.Unlock()
	before, failed := s.failing[job]
	switch {
	case err == nil && failed:
		delete(s.failing, job)
		s.cfg.Logger.Info(job + " works again")
	case err != nil && (!failed || before != err.Error()):
		s.failing[job] = err.Error()
		s.cfg.Logger.Warn(job+" fails"+consequence[job], "error", err)
	}
	s.failStart(job, err)
}

// jobErrors returns the errors of all failing jobs in one line.
func (s *syncer) jobErrors() (all error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, job := range []string{jobTokenKeys, jobFeedKeys, jobCatchUp, jobFeed} {
		switch err := s.broken[job]; {
		case err == nil:
		case all == nil:
			all = fmt.Errorf("%s: %w", job, err)
		default:
			all = fmt.Errorf("%w; %s: %w", all, job, err)
		}
	}
	return all
}

// failStart ends a start whose job failed for a reason that another attempt cannot change. The
// feed is not such a job: without it, revocations arrive later.
func (s *syncer) failStart(job string, err error) {
	if s.isReady || job == jobFeed || !lasting(err) {
		return
	}
	select {
	case s.fatal <- fmt.Errorf("%w: %s: %w", ErrMisconfigured, job, err):
	default: // one reason is enough
	}
}
