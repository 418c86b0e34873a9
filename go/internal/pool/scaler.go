package pool

import "time"

// Scaler decides how many workers there should be, from how many requests
// there are at once. It grows when requests wait, and shrinks when the busiest
// moment of a whole idle time has needed fewer workers: the peak, not the
// average, and not the idleness of single workers, because the kernel gives
// requests to idle workers in turn, so that no worker is idle for long while
// there is any traffic. A peak that has come once thus holds its workers for an
// idle time; that is what keeps the pool from oscillating.
type Scaler struct {
	Policy  Policy
	Threads int           // requests that a worker handles at once
	Idle    time.Duration // Passenger's pool_idle_time; 0: never shrinks
	// Most is how many workers may be starting at once because of demand.
	Most int

	target int
	since  time.Time // when the target was raised last, or lowered
	peaks  [peakBuckets]peak
}

// peakBuckets is how finely an idle time is divided: a worker may be kept by
// one part of it too long.
const peakBuckets = 16

type peak struct {
	bucket int64 // which part of time
	most   int
}

// Target is how many workers there should be now.
func (s *Scaler) Target() int { return min(max(s.target, s.Policy.Min), s.Policy.Max) }

// Begin sets the target at the start of the server: one worker, so that there
// is something to serve with, or the minimum.
func (s *Scaler) Begin(now time.Time) {
	s.target, s.since = max(s.Policy.Min, 1), now
}

// Observe notes the most requests there were at once, in work or waiting,
// since the last call, and lowers the target if that many and more have not
// been there for an idle time.
func (s *Scaler) Observe(now time.Time, most int) {
	if s.Idle <= 0 {
		return
	}
	bucket := s.bucket(now)
	p := &s.peaks[bucket%peakBuckets]
	if p.bucket != bucket {
		*p = peak{bucket: bucket}
	}
	p.most = max(p.most, most)
	if now.Sub(s.since) < s.Idle {
		return
	}
	busiest := 0
	for _, p := range s.peaks {
		if bucket-p.bucket < peakBuckets {
			busiest = max(busiest, p.most)
		}
	}
	if needed := max(s.workers(busiest), s.Policy.Min); needed < s.Target() {
		s.target, s.since = needed, now
	}
}

func (s *Scaler) bucket(now time.Time) int64 {
	return now.UnixNano() / max(int64(s.Idle)/peakBuckets, 1)
}

// workers is how many it takes for that many requests at once.
func (s *Scaler) workers(requests int) int { return (requests + s.Threads - 1) / s.Threads }

// Grow raises the target because requests wait: to what the present requests
// need, but by no more than may be starting at once beyond what is ready, so
// that a short burst does not fill the pool. ready and starting count workers
// that are to stay. It reports whether the target has changed.
func (s *Scaler) Grow(now time.Time, requests, ready, starting int) bool {
	if starting >= s.Most {
		return false
	}
	wanted := min(s.workers(requests), ready+starting+s.Most-starting, s.Policy.Max)
	if wanted <= s.Target() {
		return false
	}
	s.target, s.since = wanted, now
	return true
}

// Resize follows a change of the policy's maximum.
func (s *Scaler) Resize(most int) { s.Policy.Max = max(most, s.Policy.Min, 1) }
