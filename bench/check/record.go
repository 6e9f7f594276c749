package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tokenbroker/bench/gobench"
)

// record is the content of recorded.json: recorded measurements by suite.
type record struct {
	Suites map[string]recordedSuite `json:"suites"`
}

// recordedSuite also has the machine and the time, although the values should not depend on them.
type recordedSuite struct {
	Date    string `json:"date"`
	Machine string `json:"machine"`
	Go      string `json:"go"`
	// Benches has the medians by name and unit.
	Benches map[string]map[string]recordedValue `json:"benches"`
}

type recordedValue struct {
	Value  float64   `json:"value"`
	Better direction `json:"better"`
}

// readRecord returns an error for unknown members and for an unknown direction.
func readRecord(path string) (record, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, fmt.Errorf("%w: create it with -record", err)
	}
	if err != nil {
		return record{}, err
	}
	var r record
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return record{}, fmt.Errorf("%s: %w", path, err)
	}
	for _, s := range r.Suites {
		for name, metrics := range s.Benches {
			for unit, v := range metrics {
				if v.Better != smaller && v.Better != larger {
					return record{}, fmt.Errorf("%s: %s %s: better is %q, neither %s nor %s", path, name, unit, v.Better, smaller, larger)
				}
			}
		}
	}
	return r, nil
}

// write replaces the whole file, or leaves it unchanged.
func (r record) write(path string) error {
	raw, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(path), ".recorded-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(next.Name()) }() // fails if it was renamed, as it should be
	_, err = next.Write(append(raw, '\n'))
	if err = errors.Join(err, next.Chmod(0o644), next.Close()); err != nil {
		return err
	}
	return os.Rename(next.Name(), path)
}

// newRecordedSuite returns the medians of the compared metrics.
func newRecordedSuite(s suite, found gobench.Results) recordedSuite {
	benches := make(map[string]map[string]recordedValue)
	for name, metrics := range found {
		kept := make(map[string]recordedValue)
		for unit, values := range metrics {
			if better, ok := s.better(unit); ok {
				kept[unit] = recordedValue{Value: gobench.Median(values), Better: better}
			}
		}
		if len(kept) > 0 {
			benches[name] = kept
		}
	}
	return recordedSuite{Benches: benches}
}
