// Package spawn starts preloaders and has them fork workers. It reports what
// becomes of these processes as events; what to do about them is decided
// elsewhere.
package spawn

import "passenger/go/internal/dispatch"

// Event is something that a child process has said or done.
type Event interface{ event() }

// Loaded: the preloader has loaded the app and can fork workers, or, with
// direct spawning, become one.
type Loaded struct {
	Preloader *Preloader
	App       AppFacts
}

// BootFailed: the app could not be loaded; the preloader ends.
type BootFailed struct {
	Preloader *Preloader
	Err       *dispatch.BootError
}

// Spawned: a worker has been forked.
type Spawned struct {
	Preloader *Preloader
	Worker    int
	PID       int
}

// SpawnFailed: a worker could not be forked.
type SpawnFailed struct {
	Preloader *Preloader
	Worker    int
	Message   string
}

// Exited: the preloader has reaped a worker.
type Exited struct {
	Worker int
	Status string
}

// PreloaderGone: the preloader has ended. Its workers live on.
type PreloaderGone struct {
	Preloader *Preloader
	Status    string
}

// WorkerReady: a worker takes requests.
type WorkerReady struct {
	Worker int
	PID    int
}

// WorkerBootFailed: a worker failed in its after-fork work; it ends.
type WorkerBootFailed struct {
	Worker int
	Err    *dispatch.BootError
}

// WorkerGone: a worker has ended. Status says how, "" if its preloader reaps it.
type WorkerGone struct {
	Worker int
	Status string
}

// FarewellOver: a worker that is to leave has told the clients of Action Cable,
// and has requests under way that may wait for connections.
type FarewellOver struct{ Worker int }

// OutOfBandWanted: the app has work that is to be done between requests.
type OutOfBandWanted struct{ Worker int }

// OutOfBandDone: that work is done, the worker takes requests again.
type OutOfBandDone struct{ Worker int }

// Backtrace answers Worker.AskBacktrace.
type Backtrace struct {
	Worker      int
	Token, Text string
}

// Promoted: a worker has forked a preloader from itself, and leaves.
type Promoted struct{ Worker, PID int }

// PromoteFailed: it could not, and leaves.
type PromoteFailed struct {
	Worker  int
	Message string
}

func (Loaded) event()           {}
func (BootFailed) event()       {}
func (Spawned) event()          {}
func (SpawnFailed) event()      {}
func (Exited) event()           {}
func (PreloaderGone) event()    {}
func (WorkerReady) event()      {}
func (WorkerBootFailed) event() {}
func (WorkerGone) event()       {}
func (FarewellOver) event()     {}
func (OutOfBandWanted) event()  {}
func (OutOfBandDone) event()    {}
func (Backtrace) event()        {}
func (Promoted) event()         {}
func (PromoteFailed) event()    {}
