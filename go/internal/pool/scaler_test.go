package pool

import (
	"math/rand/v2"
	"testing"
	"time"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func newScaler(p Policy, threads int, idle time.Duration) *Scaler {
	s := &Scaler{Policy: p, Threads: threads, Idle: idle, Most: 2}
	s.Begin(noon)
	return s
}

func TestAServerBeginsWithItsMinimumOrOne(t *testing.T) {
	for least, want := range map[int]int{0: 1, 1: 1, 3: 3} {
		if got := newScaler(Policy{Max: 6, Min: least}, 1, time.Minute).Target(); got != want {
			t.Errorf("minimum %d: begins with %d", least, got)
		}
	}
}

func TestDemandGrowsThePoolStepByStep(t *testing.T) {
	s := newScaler(Policy{Max: 6, Min: 1}, 1, time.Minute)
	if !s.Grow(noon, 50, 1, 0) || s.Target() != 3 {
		t.Fatalf("the target is %d", s.Target())
	}
	if s.Grow(noon, 50, 1, 2) {
		t.Error("grows although as many are starting as may")
	}
	if !s.Grow(noon, 50, 2, 1) || s.Target() != 4 {
		t.Errorf("with one starting the target is %d", s.Target())
	}
	for range 10 {
		s.Grow(noon, 50, s.Target(), 0)
	}
	if s.Target() != 6 {
		t.Errorf("ends at %d, not at the maximum", s.Target())
	}
}

func TestThreadsCountAsRoomForRequests(t *testing.T) {
	s := newScaler(Policy{Max: 6, Min: 1}, 5, time.Minute)
	if s.Grow(noon, 5, 1, 0) {
		t.Error("five requests do not fit into five threads")
	}
	if !s.Grow(noon, 6, 1, 0) || s.Target() != 2 {
		t.Errorf("six requests want %d", s.Target())
	}
}

func TestThePoolShrinksToWhatTheBusiestMomentNeeded(t *testing.T) {
	s := newScaler(Policy{Max: 6, Min: 1}, 1, time.Minute)
	for s.Target() < 6 {
		s.Grow(noon, 6, s.Target(), 0)
	}
	now := noon
	for now.Sub(noon) < 59*time.Second {
		s.Observe(now, 3)
		if s.Target() != 6 {
			t.Fatalf("shrinks to %d after %v", s.Target(), now.Sub(noon))
		}
		now = now.Add(time.Second)
	}
	for range 10 {
		now = now.Add(time.Second)
		s.Observe(now, 3)
	}
	if s.Target() != 3 {
		t.Errorf("the target is %d, three at once were needed", s.Target())
	}
}

func TestWithoutAMinimumAnIdlePoolIsEmptied(t *testing.T) {
	s := newScaler(Policy{Max: 6}, 1, time.Minute)
	for now := noon; now.Sub(noon) < 2*time.Minute; now = now.Add(time.Second) {
		s.Observe(now, 0)
	}
	if s.Target() != 0 {
		t.Errorf("the target is %d", s.Target())
	}
	if !s.Grow(noon.Add(3*time.Minute), 1, 0, 0) || s.Target() != 1 {
		t.Errorf("a request wants %d", s.Target())
	}
}

func TestAnIdleTimeOfZeroNeverShrinks(t *testing.T) {
	s := newScaler(Policy{Max: 6}, 1, 0)
	s.Grow(noon, 3, 1, 0)
	for now := noon; now.Sub(noon) < time.Hour; now = now.Add(time.Second) {
		s.Observe(now, 0)
	}
	if s.Target() != 3 {
		t.Errorf("the target is %d", s.Target())
	}
}

// Whatever the traffic, the pool does not shrink twice within an idle time, nor
// within one after it has grown, nor leave its limits.
func TestThePoolDoesNotOscillate(t *testing.T) {
	const idle = time.Minute
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 2))
		p := Policy{Max: 1 + r.IntN(8)}
		p.Min = r.IntN(p.Max + 1)
		s := newScaler(p, 1+r.IntN(5), idle)
		changed, before := noon, s.Target()
		for now := noon; now.Sub(noon) < 20*time.Minute; now = now.Add(500 * time.Millisecond) {
			load := 0
			if r.IntN(3) == 0 {
				load = r.IntN(20)
			}
			if load > s.Target()*s.Threads {
				s.Grow(now, load, s.Target(), 0)
			}
			s.Observe(now, load)
			if s.Target() < before && now.Sub(changed) < idle {
				t.Fatalf("seed %d: shrinks from %d to %d only %v after the last change", seed, before, s.Target(), now.Sub(changed))
			}
			if s.Target() != before {
				changed, before = now, s.Target()
			}
			if s.Target() > p.Max || s.Target() < p.Min {
				t.Fatalf("seed %d: target %d with %+v", seed, s.Target(), p)
			}
		}
	}
}

func TestASmallerMaximumLowersTheTarget(t *testing.T) {
	s := newScaler(Policy{Max: 6, Min: 5}, 1, time.Minute)
	s.Resize(2)
	if s.Target() != 5 {
		t.Errorf("the target is %d, below the minimum", s.Target())
	}
	s = newScaler(Policy{Max: 6, Min: 1}, 1, time.Minute)
	s.Grow(noon, 9, 5, 0)
	s.Resize(2)
	if s.Target() != 2 {
		t.Errorf("the target is %d, above the new maximum", s.Target())
	}
}
