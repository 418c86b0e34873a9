package core

import (
	"cmp"
	"slices"
	"time"

	"passenger/go/internal/pool"
	"passenger/go/internal/procinfo"
)

// grow asks for more workers if the present requests need more.
func (s *supervisor) grow() {
	v := s.view()
	line := s.dispatcher.Stats()
	s.scaler.Grow(time.Now(), line.Outstanding+line.Waiting, v.Ready+v.Away, v.Starting)
	s.balance()
}

// view counts the workers. Those of a generation that is being replaced are
// retiring, whatever they are marked as.
func (s *supervisor) view() pool.View {
	v := pool.View{Target: s.scaler.Target()}
	for _, w := range s.workers {
		switch {
		case w.generation == s.next:
		case w.retiring != "" || w.generation != s.current:
			if w.state == pool.WorkerReady || w.state == pool.WorkerAway {
				v.Retiring++
			}
		case w.state == pool.WorkerReady:
			v.Ready++
		case w.state == pool.WorkerAway:
			v.Away++
		case w.state == pool.WorkerStarting:
			v.Starting++
		}
	}
	return v
}

// balance starts and ends workers as the policy wants it. It may be called
// whenever anything has changed, and as often as one likes.
func (s *supervisor) balance() {
	if s.stopping {
		return
	}
	if s.next != nil {
		s.startWorkers(s.next, s.next.wanted-s.next.staying())
	}
	if s.current == nil {
		return
	}
	s.retireSurplus()
	v := s.view()
	step := s.policy.Next(v)
	for _, w := range s.firstToLeave(step.Leave) {
		s.leave(w)
	}
	s.endRoll()
	s.startWorkers(s.current, step.Start)
	s.growable.Store(v.Starting < s.scaler.Most && s.scaler.Target() < s.policy.Max)
}

// retireSurplus marks workers of which there are more than there should be,
// the youngest first: the others have warmer caches. One that holds connections
// which the app has taken over is not idle.
func (s *supervisor) retireSurplus() {
	v := s.view()
	surplus := v.Ready + v.Away + v.Starting - v.Target
	if surplus <= 0 {
		return
	}
	var ready []*worker
	for _, w := range s.current.workers {
		if w.retiring == "" && w.state == pool.WorkerReady && s.tunnels.CountOf(uint32(w.pid())) == 0 {
			ready = append(ready, w)
		}
	}
	slices.SortFunc(ready, func(a, b *worker) int { return cmp.Compare(b.number, a.number) })
	for _, w := range ready[:min(surplus, len(ready))] {
		s.retire(w, pool.ReasonIdle)
	}
}

// firstToLeave are n of the retiring workers, the oldest first.
func (s *supervisor) firstToLeave(n int) []*worker {
	if n <= 0 {
		return nil
	}
	var retiring []*worker
	for _, w := range s.workers {
		if w.generation != s.next && w.state == pool.WorkerReady && (w.retiring != "" || w.generation != s.current) {
			retiring = append(retiring, w)
		}
	}
	slices.SortFunc(retiring, func(a, b *worker) int { return cmp.Compare(a.number, b.number) })
	return retiring[:min(n, len(retiring))]
}

// startWorkers starts n workers of g as soon as there is something to start
// them from.
func (s *supervisor) startWorkers(g *generation, n int) {
	if n <= 0 || s.braked() {
		return
	}
	if !s.directly(g) {
		if g.preloader == nil {
			s.startPreloader(g)
			return
		}
		if !g.loaded || g.idle {
			return // it comes back here when loaded, or gone
		}
	}
	for range n {
		if !s.startWorker(g) {
			return
		}
	}
}

// braked reports whether workers must not be started now, and sees to it that
// the attempt is repeated.
func (s *supervisor) braked() bool {
	wait := s.brake.Wait(time.Now())
	if wait == 0 {
		return false
	}
	if s.released == nil {
		s.log.Warn("application processes keep failing; the next one is started later", "failures", s.brake.Failures(), "delay", wait.Round(time.Millisecond))
		s.released = time.AfterFunc(wait, func() { s.post(brakeReleased{}) })
	}
	return true
}

// sizeByMachine sets the size of the pool for max_pool_size auto.
func (s *supervisor) sizeByMachine() {
	limits := procinfo.Limits()
	s.auto = &pool.Auto{CPUs: limits.CPUs, Memory: limits.Memory, Threads: s.options.Threads()}
	s.policy.Max = max(s.auto.ByCPU(), s.policy.Min)
	s.log.Info("pool size from what the machine has", "max_pool_size", s.policy.Max, "processors", limits.CPUs, "memory", limits.Memory)
}

// resize follows the memory that the workers take, for max_pool_size auto.
func (s *supervisor) resize() {
	if s.auto == nil {
		return
	}
	var total int64
	count := 0
	for _, w := range s.workers {
		if w.memory.PSS > 0 {
			total += w.memory.PSS
			count++
		}
	}
	size := max(s.auto.Max(total, count), s.policy.Min)
	if size != s.policy.Max {
		s.log.Info("pool size follows the memory of the application processes", "max_pool_size", size, "before", s.policy.Max, "each", total/int64(max(count, 1)))
		s.policy.Max = size
		s.scaler.Resize(size)
	}
}
