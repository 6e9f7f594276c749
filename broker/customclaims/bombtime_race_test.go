//go:build race

package customclaims_test

import "time"

const bombTime = time.Second // the race detector is slow
