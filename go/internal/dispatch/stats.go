package dispatch

import (
	"math/bits"
	"time"

	"passenger/go/internal/link"
)

// Stats are figures of the line. Those of workers are about the generations
// that take new requests.
type Stats struct {
	Waiting     int           // in line
	Outstanding int           // sent and not finished
	Slots       int           // of ready workers
	Requests    uint64        // all that came
	Oldest      time.Duration // how long the first in line has waited
	Peak        int           // highest sum of Outstanding and Waiting since the last TakePeak

	Abandoned     uint64 // clients that hung up before their request was run
	QueueFull     uint64 // refused with ErrQueueFull
	QueueTimeouts uint64 // answered with ErrQueueTimeout
	QueueTime     QueueTime
}

// QueueTime tells how long requests have waited from Submit until a worker took
// them. The percentiles are read off classes whose bounds are powers of two.
type QueueTime struct {
	Count                   uint64
	Sum, Max, P50, P95, P99 time.Duration
}

// Stats takes a snapshot.
func (d *Dispatcher) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Stats{
		Waiting: d.waiting, Requests: d.requests, Peak: d.peak,
		Abandoned: d.abandoned, QueueFull: d.full, QueueTimeouts: d.timeouts,
		QueueTime: d.queueTime.summary(),
	}
	for _, g := range d.serving {
		s.Outstanding += g.outstanding
		s.Slots += g.slots
	}
	now := link.Now()
	s.Oldest = d.line.age(now)
	for _, seat := range d.seats {
		s.Oldest = max(s.Oldest, seat.line.age(now))
	}
	return s
}

// age is how long the first in line has waited.
func (l *line) age(now int64) time.Duration {
	if l.first == nil {
		return 0
	}
	return time.Duration(now - l.first.submitted)
}

// TakePeak is the highest number of requests, waiting or with workers, that
// there were at a time since it was called before.
func (d *Dispatcher) TakePeak() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	peak := d.peak
	d.peak = d.present()
	return peak
}

// Short reports whether requests wait although every slot has work.
func (d *Dispatcher) Short() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.line.first != nil {
		return true
	}
	load, slots := 0, 0
	for _, g := range d.serving {
		load += g.load()
		slots += g.slots
	}
	return load > slots
}

// histogram counts times in ns; class i holds those of i binary digits.
type histogram struct {
	classes  [64]uint64
	count    uint64
	sum, max int64
}

func (h *histogram) add(ns int64) {
	ns = max(ns, 0)
	h.classes[bits.Len64(uint64(ns))]++
	h.count++
	h.sum += ns
	h.max = max(h.max, ns)
}

// quantile takes the times in a class to lie evenly between its bounds.
func (h *histogram) quantile(q float64) time.Duration {
	rank := q * float64(h.count)
	for i, n := range h.classes {
		if n == 0 {
			continue
		}
		if rank <= float64(n) {
			low, high := int64(0), int64(0)
			if i > 0 {
				low, high = 1<<(i-1), min(1<<i, h.max)
			}
			return time.Duration(low + int64(rank/float64(n)*float64(high-low)))
		}
		rank -= float64(n)
	}
	return time.Duration(h.max)
}

func (h *histogram) summary() QueueTime {
	if h.count == 0 {
		return QueueTime{}
	}
	return QueueTime{
		Count: h.count, Sum: time.Duration(h.sum), Max: time.Duration(h.max),
		P50: h.quantile(0.5), P95: h.quantile(0.95), P99: h.quantile(0.99),
	}
}
