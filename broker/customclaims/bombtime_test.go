//go:build !race

package customclaims_test

import "time"

const bombTime = 50 * time.Millisecond
