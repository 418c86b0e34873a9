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
	s.scaler.Grow(time.Now(), line.Outstanding+line.Waiting, v.Ready+v.Unproven+v.Away, v.Starting)
	s.balance()
}

// view counts the workers. Those of a generation that is being replaced are
// retiring, whatever they are marked as.
func (s *supervisor) view() pool.View {
	v, now := pool.View{Target: s.scaler.Target()}, time.Now()
	for _, w := range s.workers {
		switch {
		case w.generation == s.next:
		case w.retiring != "" || w.generation != s.current:
			if w.state == pool.WorkerReady || w.state == pool.WorkerAway {
				v.Retiring++
			}
		case w.state == pool.WorkerReady && !w.proven(now):
			v.Unproven++
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
	policy := s.policy
	if g := s.next; g != nil {
		if g.rolling && g.loaded {
			policy.Surge = 0 // what may be started beyond the maximum is started of newer code
			s.makeRoom(g)
		}
		s.startWorkers(g, s.roomBeside(g))
	}
	if s.current == nil {
		return
	}
	s.retireSurplus()
	v := s.view()
	step := policy.Next(v)
	for _, w := range s.firstToLeave(step.Leave) {
		s.leave(w)
	}
	s.endRoll()
	s.startWorkers(s.current, step.Start)
	s.growable.Store(v.Starting < s.scaler.Most && s.scaler.Target() < s.policy.Max)
}

// roomBeside is how many more workers g may start before it takes over: a
// rolling restart keeps to the maximum, and what may be beyond it.
func (s *supervisor) roomBeside(g *generation) int {
	n := g.wanted - g.staying()
	if !g.rolling {
		return n
	}
	all := 0
	for _, w := range s.workers {
		if w.state < pool.WorkerLeaving {
			all++
		}
	}
	return min(n, s.policy.Max+s.policy.Surge-all)
}

// makeRoom gives up workers of older code that are not ready yet, when there is
// no room for those of g.
func (s *supervisor) makeRoom(g *generation) {
	if s.current == nil || s.roomBeside(g) > 0 || g.wanted <= g.staying() {
		return
	}
	for _, w := range s.current.workers {
		if w.state == pool.WorkerStarting {
			s.leave(w)
		}
	}
}

// releaseBrake is what ends a crash loop: all workers that there should be are
// there, and have lasted.
func (s *supervisor) releaseBrake(now time.Time) {
	if s.brake.Failures() == 0 || s.current == nil {
		return
	}
	lasting := 0
	for _, w := range s.current.workers {
		if w.state == pool.WorkerReady && s.brake.Proves(now.Sub(w.ready), w.finished()) {
			lasting++
		}
	}
	if lasting > 0 && lasting >= s.scaler.Target() {
		s.brake.Release()
	}
}

// retireSurplus marks workers of which there are more than there should be, if
// they are idle, the youngest first: the others have warmer caches. One that
// holds connections which the app has taken over is not idle.
func (s *supervisor) retireSurplus() {
	v := s.view()
	surplus := v.Ready + v.Unproven + v.Away + v.Starting - v.Target
	if surplus <= 0 {
		return
	}
	var ready []*worker
	for _, w := range s.current.workers {
		if w.retiring == "" && w.state == pool.WorkerReady && w.working() == 0 && s.tunnels.CountOf(uint32(w.pid())) == 0 {
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
	if n <= 0 || g == s.current && s.braked() {
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
		if err := s.startWorker(g); err != nil {
			s.cannotStart(g, err)
			return
		}
	}
}

// cannotStart: there is something wrong with this process or the machine (no
// descriptors, no memory). New code is given up; what serves is repeated later.
func (s *supervisor) cannotStart(g *generation, err error) {
	s.log.Error("cannot start an application process", "generation", g.Number(), "error", err)
	if g == s.next {
		s.bootFailed(g, bootError("SpawnError", err.Error()))
		return
	}
	s.brake.Failed(time.Now())
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
	if limits.Problem != nil {
		s.log.Warn("what the machine allows cannot be read completely (max_pool_size auto)", "error", limits.Problem)
	}
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
