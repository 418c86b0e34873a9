package core

import (
	"os"
	"time"

	"passenger/go/internal/dispatch"
	"passenger/go/internal/pool"
	"passenger/go/internal/procinfo"
	"passenger/go/internal/spawn"
)

// worker is an application process.
type worker struct {
	number     int
	generation *generation
	process    *spawn.Worker    // nil until somebody has been asked for it
	loader     *spawn.Preloader // with direct spawning: loads the app and becomes the process
	peers      []*os.File       // the worker's ends of its slot streams, as long as the loader loads
	seat       *dispatch.Seat
	state      pool.WorkerState
	retiring   string              // why it is to be replaced; "" if it is to stay
	status     string              // how it ended, if that is known
	reason     *dispatch.BootError // why it could not start
	deadline   *time.Timer         // of its start, later of its leaving
	farewell   farewell            // while it leaves

	started, ready time.Time
	memory         procinfo.Usage
	cpu            cpuUse
	late           lateness
}

// pid is the process id, 0 while that is not known.
func (w *worker) pid() int {
	switch {
	case w.process != nil && w.process.PID() != 0:
		return w.process.PID()
	case w.loader != nil:
		return w.loader.PID()
	}
	return 0
}

// finished is how many requests it has finished.
func (w *worker) finished() uint64 { return w.seat.Served() }

// working is how many requests it works on.
func (w *worker) working() int {
	n := 0
	for _, slot := range w.seat.Slots() {
		if slotWorking(w.generation.Board().Slot(slot)) {
			n++
		}
	}
	return n
}

// proven reports whether it has shown that it does not die as soon as it serves.
func (w *worker) proven(now time.Time) bool {
	return w.finished() > 0 || now.Sub(w.ready) >= probation
}

// startWorker begins to start one more worker of g.
func (s *supervisor) startWorker(g *generation) error {
	s.spawned++
	number := s.spawned
	seat, peers, err := g.NewSeat(g.threads, func() { s.post(slotBroken{number}) })
	if err != nil {
		return err
	}
	seat.Alarm(uint64(s.limits.Requests), func() { s.hint(limitReached{number}) })
	w := &worker{number: number, generation: g, seat: seat, peers: peers, started: time.Now()}
	if s.directly(g) {
		w.loader, err = spawn.Start(s.app, g.Generation, s.report)
	} else {
		w.process, err = g.preloader.Spawn(number, seat, w.takePeers())
	}
	if err != nil {
		w.dropPeers()
		seat.Close()
		g.discardPreloader()
		return err
	}
	w.deadline = time.AfterFunc(s.options.StartTimeout, func() { s.post(startTimedOut{number}) })
	g.workers[number], s.workers[number] = w, w
	g.lastSpawn = time.Now()
	return nil
}

// becomeWorker: the process of w has loaded the app by itself.
func (s *supervisor) becomeWorker(w *worker) {
	process, err := w.loader.Spawn(w.number, w.seat, w.takePeers())
	if err != nil {
		w.reason = bootError("SpawnError", err.Error())
		w.loader.Kill()
		return
	}
	w.process = process
}

func (w *worker) takePeers() []*os.File {
	peers := w.peers
	w.peers = nil
	return peers
}

// dropPeers closes what no process has got.
func (w *worker) dropPeers() {
	for _, f := range w.takePeers() {
		f.Close()
	}
	if own := w.seat.DirectPeer(); own != nil {
		own.Close() // if it has been passed on, that has been done already
	}
}

// workerReady: the worker takes requests.
func (s *supervisor) workerReady(w *worker, pid int) {
	if err := pool.Move(&w.state, pool.WorkerReady); err != nil {
		return // it is leaving already
	}
	w.deadline.Stop()
	w.ready, w.loader = time.Now(), nil
	w.seat.Ready()
	s.failures = 0
	s.noteReady(w.generation.Number())
	s.log.Info("application process ready", "worker", pid, "generation", w.generation.Number())
	time.AfterFunc(probation, func() { s.post(probationOver{}) })
	s.takeOver()
	s.grow() // those who wait may have been told that one is starting
}

// retire marks a worker that is to be replaced. It serves until that is done.
func (s *supervisor) retire(w *worker, reason string) {
	if w.retiring == "" && w.state < pool.WorkerLeaving {
		w.retiring = reason
		s.log.Info("application process is to be replaced", "worker", w.pid(), "reason", reason)
	}
}

// leave has a worker finish what it has begun and end.
func (s *supervisor) leave(w *worker) {
	if w.state >= pool.WorkerLeaving {
		return
	}
	w.deadline.Stop()
	starting := w.state == pool.WorkerStarting
	w.state = pool.WorkerLeaving
	w.seat.Leaving()
	w.farewell = planFarewell(time.Now(), s.options.ShutdownTimeout, !s.options.AbortWebsockets, s.stopping)
	if w.process == nil { // it is loading the app, with direct spawning
		w.loader.Kill()
		return
	}
	if err := s.tellToLeave(w); err != nil {
		s.kill(w)
		return
	}
	patience := s.options.ShutdownTimeout
	if starting {
		patience = s.options.StartTimeout // it hears of it when it has started
	}
	number := w.number
	w.deadline = time.AfterFunc(patience, func() { s.post(leaveTimedOut{number}) })
}

func (s *supervisor) tellToLeave(w *worker) error {
	if s.shouldPromote(w) {
		return s.promote(w)
	}
	return w.process.Stop(w.farewell.told())
}

func (s *supervisor) kill(w *worker) {
	if w.process == nil {
		if w.loader != nil {
			w.loader.Kill()
		}
		return
	}
	if err := w.process.Kill(); err != nil {
		s.log.Error("application process cannot be killed", "worker", w.pid(), "error", err)
	}
}

// workerGone: a process has ended, as told or by itself.
func (s *supervisor) workerGone(w *worker, status string) {
	g, state := w.generation, w.state
	w.deadline.Stop()
	w.state = pool.WorkerGone
	if status != "" {
		w.status = status
	}
	delete(s.workers, w.number)
	delete(g.workers, w.number)
	finished := w.finished()
	w.dropPeers()
	w.seat.Close()
	s.outOfBandGone(w.number)
	s.reforkGone(w.number)
	switch {
	case g.state == pool.GenerationDraining:
		s.closeIfEmpty(g)
	case state == pool.WorkerLeaving:
		s.endRoll()
	case state == pool.WorkerStarting:
		s.workerStillborn(w)
	case g == s.next:
		s.workerStillborn(w)
	default:
		s.brake.Died(time.Now(), time.Since(w.ready), finished)
		s.mourn(w)
	}
	s.balance()
}

// workerStillborn: a worker has ended before it was ready, or as soon as it was.
// If it was the last hope of its generation, that has failed to boot.
func (s *supervisor) workerStillborn(w *worker) {
	g, reason := w.generation, w.reason
	if reason == nil {
		when := "while it was starting"
		if !w.ready.IsZero() {
			when = "as soon as it was ready"
		}
		if w.status != "" {
			when += " (" + w.status + ")"
		}
		reason = bootError("WorkerDied", "the application process ended "+when)
	}
	if g.staying() == 0 && (g == s.next || g == s.current) {
		s.bootFailed(g, reason)
		return
	}
	s.noteFailure(g.Number(), reason)
	s.log.Error("application process could not start", "generation", g.Number(), "error", reason)
	switch g {
	case s.next: // it gets no second one; whether it can serve, the others show
		g.wanted--
		s.takeOver()
	case s.current:
		s.brake.Failed(time.Now())
	}
}

// workerExited: a preloader has reaped a worker.
func (s *supervisor) workerExited(e spawn.Exited) {
	if w := s.workers[e.Worker]; w != nil {
		w.status = e.Status
	} else if w := s.unmourned[e.Worker]; w != nil {
		if w.status == "" {
			w.status = e.Status
		}
		s.mourn(w)
	}
}

// obituaryPatience is how long the log entry about a dead process waits for
// the preloader to say how it ended.
const obituaryPatience = time.Second

// mourn logs the unexpected end of a process. Its preloader, which reaps it,
// says how it ended; mostly that comes a moment later than the end is seen.
func (s *supervisor) mourn(w *worker) {
	if w.status == "" && w.generation.preloader != nil {
		s.unmourned[w.number] = w
		time.AfterFunc(obituaryPatience, func() { s.post(spawn.Exited{Worker: w.number, Status: "unknown"}) })
		return
	}
	delete(s.unmourned, w.number)
	s.log.Warn("application process has ended, another one takes its place", "worker", w.pid(), "status", w.status)
}
