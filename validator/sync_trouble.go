package validator

import (
	"errors"
	"fmt"
)

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
}

func (s *syncer) troubles() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, job := range []string{jobTokenKeys, jobFeedKeys, jobCatchUp} {
		if err := s.trouble[job]; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", job, err))
		}
	}
	return errors.Join(errs...)
}
