package faults_test

import (
	"testing"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
)

// TestTheLoadOnAnEngineWithoutFaults shows that the load finds nothing where nothing is wrong.
func TestTheLoadOnAnEngineWithoutFaults(t *testing.T) {
	engine := memstore.NewEngine(nil)
	var engines []store.Engine
	for range brokers {
		engines = append(engines, engine.Open(nil))
	}
	l := startLoad(t, engines)
	l.more(t, "without a fault")
	l.finish(t, engine.Open(nil))
}
