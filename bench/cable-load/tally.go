package main

import (
	"slices"
	"time"
)

// tally counts the broadcasts that have come since the last report. Times are
// in seconds.
type tally struct {
	Received   int `json:"received"`
	Lost       int `json:"lost"`       // that had not come when the report was made
	Disordered int `json:"disordered"` // that came after a later one
	Repeated   int `json:"repeated"`   // that had come before
	Closed     int `json:"closed"`     // sockets that the server has closed, ever
	Pings      int `json:"pings"`

	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
	// Last is when the last one came, on the machine's monotonic clock.
	Last float64 `json:"last"`

	latencies []time.Duration
}

// count notes a broadcast. Those of a stream are numbered from 1.
func (t *tally) count(s *socket, number int, latency, now time.Duration) {
	t.Received++
	t.latencies = append(t.latencies, latency)
	t.Last = now.Seconds()
	if number <= s.last {
		if s.missing[number] {
			delete(s.missing, number)
			t.Disordered++
		} else {
			t.Repeated++
		}
		return
	}
	s.skipTo(number)
	s.last = number
}

// skipTo notes that the broadcasts before one have not come yet.
func (s *socket) skipTo(number int) {
	for skipped := s.last + 1; skipped < number; skipped++ {
		if s.missing == nil {
			s.missing = map[int]bool{}
		}
		s.missing[skipped] = true
	}
}

// summary is what has been counted; the next one begins anew.
func (t *tally) summary() tally {
	slices.Sort(t.latencies)
	done := *t
	done.P50, done.P99, done.Max = quantile(t.latencies, 0.5), quantile(t.latencies, 0.99), quantile(t.latencies, 1)
	*t = tally{Closed: t.Closed, latencies: t.latencies[:0]}
	return done
}

// quantile of sorted values: the smallest that so many are not above.
func quantile(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	index := int(share*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(index, 0), len(sorted)-1)].Seconds()
}

// report waits for what has been published.
func (f *fleet) report(c command) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// What is not there in time is lost.
	if err := f.await(c.Within, "everything there", f.complete); f.failure != nil {
		return nil, err
	}
	for _, s := range f.sockets {
		s.skipTo(f.published[s.stream] + 1)
		s.last = f.published[s.stream]
		f.tally.Lost += len(s.missing)
		s.missing = nil
	}
	return f.tally.summary(), nil
}

func (f *fleet) complete() bool {
	for _, s := range f.sockets {
		if !s.closed && (s.last < f.published[s.stream] || len(s.missing) > 0) {
			return false
		}
	}
	return true
}
