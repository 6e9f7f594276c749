package node

import (
	"maps"
	"testing"
	"time"

	"tokenbroker/broker/receipts"
	"tokenbroker/store/origins"
)

func TestSpeakersCountsServicesByTheBrokerThatTheyHear(t *testing.T) {
	members := []origins.Member{{Name: "a", Origin: "a1"}, {Name: "a", Origin: "a2", Live: true}, {Name: "b", Origin: "b1", Live: true}, {Name: "c", Origin: "c1", Live: true}}
	heard, without := speakers(members, []receipts.Service{
		{Speaker: "a2"}, {Speaker: "b1"}, {Speaker: "b1"}, {Speaker: "a1"}, {Speaker: "removed"},
		{Speaker: ""}, {Speaker: "b1", Heard: time.Minute}, {Speaker: "a1", Heard: time.Minute},
	})
	if want := map[string]float64{"a": 1, "b": 2, "c": 0}; !maps.Equal(heard, want) || without != 2 {
		t.Errorf("%v, %v without; want %v, 2 without", heard, without, want)
	}
}
