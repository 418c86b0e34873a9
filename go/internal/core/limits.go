package core

import (
	"errors"
	"time"

	"passenger/go/internal/config"
	"passenger/go/internal/dispatch"
	"passenger/go/internal/pool"
	"passenger/go/internal/procinfo"
)

const (
	// sampleInterval is the distance at which the memory and processor time of
	// the workers are read. The kernel walks all pages of a process for it.
	sampleInterval = 5 * time.Second
	// killGrace is how long a worker with an overdue request has to tell where
	// it hangs, before it is killed.
	killGrace = 2 * time.Second
)

// cpuUse is how much processor time a worker takes.
type cpuUse struct {
	total   time.Duration
	at      time.Time
	percent float64 // of one processor, between the last two samples
}

func (c *cpuUse) note(total time.Duration, at time.Time) {
	if !c.at.IsZero() && at.After(c.at) {
		c.percent = 100 * float64(total-c.total) / float64(at.Sub(c.at))
	}
	c.total, c.at = total, at
}

// sample is what a worker uses.
type sample struct {
	worker int
	memory procinfo.Usage
	cpu    time.Duration
}

// sampled carries the samples of all workers to the supervisor.
type sampled struct {
	at      time.Time
	samples []sample
}

// enforceLimits replaces workers that have used more than they may.
func (s *supervisor) enforceLimits(now time.Time) {
	s.startSampling(now)
	for _, w := range s.workers {
		s.judge(w)
	}
}

func (s *supervisor) judge(w *worker) {
	if w.state != pool.WorkerReady && w.state != pool.WorkerAway {
		return
	}
	use := pool.Use{Requests: w.finished(), Working: w.working(), Memory: s.measured(w.memory)}
	if s.limits.HardMemory > 0 {
		use.Now = s.currentMemory(w)
	}
	switch verdict, reason := s.limits.Judge(use); verdict {
	case pool.Replace:
		s.retire(w, reason)
	case pool.Kill:
		s.log.Warn("killing an application process", "worker", w.pid(), "reason", reason, "memory", max(use.Memory, use.Now), "limit", s.limits.HardMemory)
		s.kill(w)
	}
}

// measured is the figure that memory limits are about.
func (s *supervisor) measured(m procinfo.Usage) int64 {
	if s.options.MemoryMeasure == config.MeasureRSS {
		return m.RSS
	}
	return m.PSS
}

// currentMemory is what a worker takes right now, as far as that may matter for
// the hard limit: the resident size can be read cheaply, and is never less than
// the share that is dearer to read.
func (s *supervisor) currentMemory(w *worker) int64 {
	rss, err := procinfo.RSS(w.pid())
	if err != nil || rss <= s.limits.HardMemory || s.options.MemoryMeasure == config.MeasureRSS {
		return rss
	}
	m, err := procinfo.Memory(w.pid())
	if err != nil {
		return 0 // it has gone
	}
	return m.PSS
}

// startSampling reads what the workers use, aside: that may take a while.
func (s *supervisor) startSampling(now time.Time) {
	if s.sampling || now.Sub(s.sampled) < sampleInterval {
		return
	}
	s.sampling, s.sampled = true, now
	pids := map[int]int{}
	for number, w := range s.workers {
		if w.state >= pool.WorkerReady && w.pid() != 0 {
			pids[number] = w.pid()
		}
	}
	go func() {
		result := sampled{at: time.Now()}
		for number, pid := range pids {
			memory, err := procinfo.Memory(pid)
			cpu, cpuErr := procinfo.CPUTime(pid)
			if err = errors.Join(err, cpuErr); err == nil {
				result.samples = append(result.samples, sample{number, memory, cpu})
			} else if !errors.Is(err, procinfo.ErrGone) {
				s.log.Warn("what an application process uses cannot be read; its memory is not limited", "worker", pid, "error", err)
			}
		}
		s.post(result)
	}()
}

func (s *supervisor) noteSamples(e sampled) {
	s.sampling = false
	for _, sample := range e.samples {
		if w := s.workers[sample.worker]; w != nil {
			w.memory = sample.memory
			w.cpu.note(sample.cpu, e.at)
		}
	}
	s.resize()
	s.balance()
}

// lateness is a worker's trouble with requests that take too long.
type lateness struct {
	since   time.Time       // when the first was seen
	expired map[uint64]bool // requests whose clients have been answered
}

// watchRequestTimes looks for requests that take longer than max_request_time.
// The client of one is answered at once, and the worker says where it hangs. A
// worker that has such a request takes no further one, and is killed when
// nothing else is lost by it.
func (s *supervisor) watchRequestTimes(now time.Time) {
	limit := s.options.MaxRequestTime
	if limit == 0 {
		return
	}
	clock := monotonicNow()
	for _, w := range s.workers {
		if w.state < pool.WorkerReady {
			continue
		}
		late := w.seat.Overdue(clock, limit)
		if len(late) == 0 {
			continue
		}
		s.expire(w, late, now)
		if pool.Overtime(len(late), w.working(), now.Sub(w.late.since), killGrace) == pool.Kill {
			s.log.Error("killing an application process", "worker", w.pid(), "reason", pool.ReasonTime,
				"request", requestNumber(late[0].ID), "age", late[0].Age.Round(time.Millisecond))
			s.kill(w)
		}
	}
}

// expire answers the clients of requests that have just become overdue.
func (s *supervisor) expire(w *worker, late []dispatch.Late, now time.Time) {
	if w.late.since.IsZero() {
		w.late = lateness{since: now, expired: map[uint64]bool{}}
	}
	var slots []int
	for _, l := range late {
		if w.late.expired[l.ID] {
			continue
		}
		w.late.expired[l.ID] = true
		slots = append(slots, l.Slot)
		s.log.Error("request takes longer than max_request_time", "request", requestNumber(l.ID), "worker", w.pid(),
			"age", l.Age.Round(time.Millisecond), "limit", s.options.MaxRequestTime)
		w.seat.Expire(l.ID, dispatch.ErrRequestTimeout)
	}
	if len(slots) == 0 {
		return
	}
	s.backtraces.forLog(s, w, slots)
	if w.state < pool.WorkerLeaving {
		s.retire(w, pool.ReasonTime)
		s.leave(w) // at once: a thread of it is lost
		s.balance()
	}
}
