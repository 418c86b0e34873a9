package pool

import (
	"testing"
	"time"
)

func TestThePoolNeverExceedsItsMaximumAndReachesItsMinimum(t *testing.T) {
	for max := 1; max <= 5; max++ {
		for min := 0; min <= max; min++ {
			p := Policy{Max: max, Min: min}
			for ready := 0; ready <= max; ready++ {
				for starting := 0; ready+starting <= max; starting++ {
					for floor := 0; floor <= 7; floor++ {
						for _, short := range []bool{false, true} {
							v := View{Ready: ready, Starting: starting, Floor: floor, Short: short}
							n := p.ToStart(v)
							have := ready + starting + n
							if n < 0 || have > max {
								t.Fatalf("%+v with %+v starts %d", p, v, n)
							}
							if have < min || have < 1 {
								t.Fatalf("%+v with %+v leaves %d workers", p, v, have)
							}
							if !short && ready+starting >= min && ready+starting >= floor && ready+starting >= 1 && n > 0 {
								t.Fatalf("%+v with %+v starts %d without need", p, v, n)
							}
						}
					}
				}
			}
		}
	}
}

func TestDemandStartsOneWorkerAtATime(t *testing.T) {
	p := Policy{Max: 6, Min: 1}
	if n := p.ToStart(View{Ready: 1, Short: true}); n != 1 {
		t.Errorf("demand starts %d", n)
	}
	if n := p.ToStart(View{Ready: 1, Starting: 1, Short: true}); n != 0 {
		t.Errorf("while one is starting, demand starts %d more", n)
	}
}

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
	workers := []WorkerState{WorkerStarting, WorkerReady, WorkerLeaving, WorkerGone}
	for i, from := range workers {
		for j, to := range workers {
			s := from
			err := Move(&s, to)
			if legal := j > i; legal != (err == nil) || (err == nil) != (s == to) && i != j {
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
