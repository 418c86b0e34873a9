package core

import (
	"testing"
	"time"
)

func TestTheTimeToLeaveIsDivided(t *testing.T) {
	now := time.Unix(1000, 0)
	for name, test := range map[string]struct {
		patience       time.Duration
		keep, stopping bool
		spread         time.Duration
		notice, cut    time.Duration // from now; 0: none
	}{
		"clients are told over three seconds, and have time to answer": {
			patience: 30 * time.Second, spread: 3 * time.Second, cut: 5500 * time.Millisecond},
		"half of a short time is for requests that wait for the connections": {
			patience: 4 * time.Second, spread: time.Second, cut: 2 * time.Second},
		"all are told at once at the end of the server": {
			patience: 30 * time.Second, stopping: true, cut: 5500 * time.Millisecond},
		"who may stay is told in time before the deadline": {
			patience: 30 * time.Second, keep: true, spread: 3 * time.Second, notice: 24500 * time.Millisecond},
		"who may stay, for a short time": {
			patience: 2 * time.Second, keep: true, spread: 500 * time.Millisecond, notice: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			f := planFarewell(now, test.patience, test.keep, test.stopping)
			after := func(at time.Time) time.Duration {
				if at.IsZero() {
					return 0
				}
				return at.Sub(now)
			}
			if f.spread != test.spread || after(f.notice) != test.notice || after(f.cut) != test.cut {
				t.Errorf("spread %v, notice after %v, cut after %v", f.spread, after(f.notice), after(f.cut))
			}
			if told := f.told(); told.Keep != test.keep || told.Spread != test.spread {
				t.Errorf("told %+v", told)
			}
		})
	}
}

func TestConnectionsAreAlwaysCutBeforeTheDeadline(t *testing.T) {
	now := time.Unix(1000, 0)
	for patience := time.Duration(0); patience < time.Minute; patience += 100 * time.Millisecond {
		for _, stopping := range []bool{false, true} {
			if f := planFarewell(now, patience, false, stopping); f.cut.After(now.Add(patience)) || f.spread > patience {
				t.Fatalf("with %v: %+v", patience, f)
			}
			if f := planFarewell(now, patience, true, stopping); f.notice.After(now.Add(patience)) {
				t.Fatalf("with %v, keeping: %+v", patience, f)
			}
		}
	}
}
