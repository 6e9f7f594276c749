package devidp

import (
	"fmt"
	"testing"
	"time"
)

func TestExpiringMapKeepsTheLastValues(t *testing.T) {
	now := time.Unix(0, 0)
	s := newExpiringMap[int](3)
	for i := range 10 {
		s.put(fmt.Sprint(i), i, now.Add(time.Minute))
	}
	if len(s.items) != 3 || len(s.order) != 3 {
		t.Errorf("%d items, %d names", len(s.items), len(s.order))
	}
	if _, ok := s.get("6", now); ok {
		t.Error("the oldest is still there")
	}
	if v, ok := s.take("7", now); !ok || v != 7 {
		t.Errorf("7: %d, %v", v, ok)
	}
	if _, ok := s.take("7", now); ok {
		t.Error("a value was taken twice")
	}
	if _, ok := s.get("8", now.Add(time.Minute)); ok {
		t.Error("a value is there at its expiry")
	}
}
