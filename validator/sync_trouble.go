package validator

import "fmt"

// outcome notes whether a job works, and logs when that changes.
func (s *syncer) outcome(job string, err error) {
	s.mu.Lock()
	if err == nil {
		delete(s.trouble, job)
	} else {
		s.trouble[job] = err
	}
	s.mu.Unlock()
	before, failed := s.failing[job]
	switch {
	case err == nil && failed:
		delete(s.failing, job)
		s.cfg.Logger.Info(job + " works again")
	case err != nil && (!failed || before != err.Error()):
		s.failing[job] = err.Error()
		s.cfg.Logger.Warn(job+" fails", "error", err)
	}
	s.giveUp(job, err)
}

// troubles returns what fails now, in one line.
func (s *syncer) troubles() (all error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, job := range []string{jobTokenKeys, jobFeedKeys, jobCatchUp} {
		switch err := s.trouble[job]; {
		case err == nil:
		case all == nil:
			all = fmt.Errorf("%s: %w", job, err)
		default:
			all = fmt.Errorf("%w; %s: %w", all, job, err)
		}
	}
	return all
}
