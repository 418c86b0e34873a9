package pool

import (
	"testing"
	"time"
)

func TestBackoffDoublesUpToItsLongest(t *testing.T) {
	b := Backoff{First: time.Second, Longest: 30 * time.Second}
	want := []time.Duration{1, 1, 2, 4, 8, 16, 30, 30}
	for failures, seconds := range want {
		if got := b.After(failures); got != seconds*time.Second {
			t.Errorf("after %d failures: %v", failures, got)
		}
	}
}

func TestOnlyLegalMovesChangeAState(t *testing.T) {
	workers := []WorkerState{WorkerStarting, WorkerReady, WorkerAway, WorkerLeaving, WorkerGone}
	for _, from := range workers {
		for _, to := range workers {
			s := from
			err := Move(&s, to)
			// Forward, but for a worker that has not been ready; and back from being away.
			legal := to > from && !(from == WorkerStarting && to == WorkerAway) || from == WorkerAway && to == WorkerReady
			if legal != (err == nil) || err == nil && s != to || err != nil && s != from {
				t.Errorf("%s to %s: %v, now %s", from, to, err, s)
			}
		}
	}
	g := GenerationServing
	if err := Move(&g, GenerationBooting); err == nil || g != GenerationServing {
		t.Errorf("a serving generation boots again: %v, now %s", err, g)
	}
	if err := Move(&g, GenerationDraining); err != nil {
		t.Error(err)
	}
}
