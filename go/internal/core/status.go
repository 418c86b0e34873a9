package core

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"passenger/go/internal/dispatch"
	"passenger/go/internal/link"
	"passenger/go/internal/pool"
)

// Status is the answer to GET /status; docs/admin-api.md describes it. It
// holds nothing of the application's environment variables or requests.
type Status struct {
	Version     string             `json:"version"`
	PID         int                `json:"pid"`
	StartedAt   time.Time          `json:"started_at"`
	Uptime      int                `json:"uptime"` // seconds
	URL         string             `json:"url"`
	Environment string             `json:"environment"`
	AppRoot     string             `json:"app_root"`
	State       string             `json:"state"`
	Boots       int                `json:"boots"`    // loadings of the app, those that failed included
	Requests    uint64             `json:"requests"` // that the app was asked to serve
	Generation  *GenerationStatus  `json:"generation"`
	Generations []GenerationStatus `json:"generations"`
	Workers     []WorkerStatus     `json:"workers"`
	Queue       QueueStatus        `json:"queue"`
	BootError   *BootFailure       `json:"boot_error"`
	// What the caches say of themselves; null where there is none.
	StaticCache   any `json:"static_cache"`
	ResponseCache any `json:"response_cache"`
}

// GenerationStatus is one loading of the app that has processes.
type GenerationStatus struct {
	Number int    `json:"number"`
	State  string `json:"state"` // of pool.GenerationState
}

// WorkerStatus is one application process.
type WorkerStatus struct {
	PID        int    `json:"pid"`   // 0 while it is being forked
	State      string `json:"state"` // of pool.WorkerState
	Generation int    `json:"generation"`
	Slots      int    `json:"slots"`    // requests that it can work on at once
	Working    int    `json:"working"`  // requests that it works on now
	Requests   uint64 `json:"requests"` // that it has finished
	number     int
}

// QueueStatus is the line before the workers.
type QueueStatus struct {
	Waiting int `json:"waiting"`
	Limit   int `json:"limit"` // 0: none
}

// BootFailure is why the app, or a process of it, could not be started last.
type BootFailure struct {
	ID      string    `json:"id"`
	Class   string    `json:"class"`
	Message string    `json:"message"`
	At      time.Time `json:"at"`

	generation int
}

// States of the server as a whole.
const (
	stateServing  = "serving"
	stateBooting  = "booting"
	stateFailed   = "failed" // every request gets the error; more attempts follow
	stateStopping = "stopping"
	stateStopped  = "stopped"
)

// status is the status document, or an error.
func (e *Engine) status() any {
	s, err := e.supervisor.status(statusPatience)
	if err != nil {
		return err
	}
	line := e.dispatcher.Stats()
	s.Version, s.PID = Version, os.Getpid()
	s.StartedAt = e.admin.started.UTC().Truncate(time.Second)
	s.Uptime = int(time.Since(e.admin.started).Seconds())
	s.URL, s.Environment, s.AppRoot = e.admin.url, e.options.Environment, e.options.AppRoot
	s.Requests = line.Requests
	s.Queue = QueueStatus{Waiting: line.Waiting, Limit: e.options.MaxRequestQueueSize}
	if report := e.admin.staticCache; report != nil {
		s.StaticCache = report()
	}
	if report := e.admin.responseCache; report != nil {
		s.ResponseCache = report()
	}
	return s
}

// statusPatience is how long the supervisor may take to tell what it knows:
// its longest step is to start a process.
const statusPatience = 5 * time.Second

// statusWanted asks the supervisor for its part of the status.
type statusWanted struct{ reply chan<- Status }

var errBusy = errors.New("the supervisor of the application processes is busy, try again")

// status asks the goroutine that holds the state.
func (s *supervisor) status(patience time.Duration) (Status, error) {
	reply := make(chan Status, 1)
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case s.events <- statusWanted{reply}:
	case <-s.ended:
		return stopped(), nil
	case <-late.C:
		return Status{}, errBusy
	}
	select {
	case known := <-reply:
		return known, nil
	case <-s.ended:
		return stopped(), nil
	case <-late.C:
		return Status{}, errBusy
	}
}

func stopped() Status {
	return Status{State: stateStopped, Generations: []GenerationStatus{}, Workers: []WorkerStatus{}}
}

// snapshot is what run knows.
func (s *supervisor) snapshot() Status {
	known := Status{Boots: s.generations, BootError: s.lastFailure, Generations: []GenerationStatus{}, Workers: []WorkerStatus{}}
	switch {
	case s.stopping:
		known.State = stateStopping
	case s.current != nil:
		known.State = stateServing
	case s.next != nil:
		known.State = stateBooting
	default:
		known.State = stateFailed
	}
	for g := range s.draining {
		known.Generations = append(known.Generations, g.status())
	}
	for _, g := range []*generation{s.next, s.current} { // the serving one is the last to set it
		if g != nil {
			status := g.status()
			known.Generation = &status
			known.Generations = append(known.Generations, status)
		}
	}
	slices.SortFunc(known.Generations, func(a, b GenerationStatus) int { return cmp.Compare(a.Number, b.Number) })
	for _, w := range s.workers {
		known.Workers = append(known.Workers, w.summary())
	}
	slices.SortFunc(known.Workers, func(a, b WorkerStatus) int { return cmp.Compare(a.number, b.number) })
	return known
}

func (g *generation) status() GenerationStatus {
	return GenerationStatus{Number: g.Number(), State: g.state.String()}
}

// summary reads the scoreboard: as long as the worker is among those of its
// generation, that is not closed.
func (w *worker) summary() WorkerStatus {
	status := WorkerStatus{PID: w.PID(), State: w.state.String(), Generation: w.generation.Number(), number: w.Number}
	for _, slot := range w.seat.Slots() {
		record := w.generation.Board().Slot(slot)
		status.Slots++
		status.Requests += record.Finished
		if record.State == link.SlotWorking && w.state != pool.WorkerStarting {
			status.Working++
		}
	}
	return status
}

// noteFailure remembers why a generation could not be started, or a process of it.
func (s *supervisor) noteFailure(generation int, err *dispatch.BootError) {
	// Messages may be pages long; the log has all of it.
	const longest = 2000
	message := err.Message
	if len(message) > longest {
		message = strings.ToValidUTF8(message[:longest], "") + "…"
	}
	s.lastFailure = &BootFailure{ID: err.ID, Class: err.Class, Message: message, At: time.Now().UTC().Truncate(time.Second), generation: generation}
}

// noteReady forgets it when that generation, or a later one, has a process that serves.
func (s *supervisor) noteReady(generation int) {
	if s.lastFailure != nil && generation >= s.lastFailure.generation {
		s.lastFailure = nil
	}
}
