package core

import (
	"cmp"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"passenger/go/internal/dispatch"
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
	Pool        PoolStatus         `json:"pool"`
	Workers     []WorkerStatus     `json:"workers"`
	Queue       QueueStatus        `json:"queue"`
	Connections ConnectionsStatus  `json:"connections"`
	Restart     RestartStatus      `json:"restart"`
	BootError   *BootFailure       `json:"boot_error"`
	// What the caches say of themselves; null where there is none.
	StaticCache   any `json:"static_cache"`
	ResponseCache any `json:"response_cache"`
	Cable         any `json:"cable"` // the broker of Action Cable's adapter
}

// GenerationStatus is one loading of the app that has processes.
type GenerationStatus struct {
	Number    int    `json:"number"`
	State     string `json:"state"`     // of pool.GenerationState
	Preloader int    `json:"preloader"` // process id; 0: none at present
}

// PoolStatus is how many workers there are and may be.
type PoolStatus struct {
	Size     int `json:"size"` // processes, those that start or leave included
	Min      int `json:"min"`
	Max      int `json:"max"`
	Target   int `json:"target"` // how many there should be now
	Ready    int `json:"ready"`  // that are to stay
	Starting int `json:"starting"`
	Retiring int `json:"retiring"` // that serve until others have taken their place
	Threads  int `json:"threads"`  // requests that each handles at once
	Streams  int `json:"streams"`  // responses that are being streamed
	// CrashLoop says that workers keep failing, so that they are started at longer and longer distances.
	CrashLoop bool `json:"crash_loop"`
	Failures  int  `json:"failures"` // of workers, in a row
}

// WorkerStatus is one application process.
type WorkerStatus struct {
	PID        int             `json:"pid"`      // 0 while it is being forked
	ID         uint32          `json:"id"`       // its name in sticky sessions
	State      string          `json:"state"`    // of pool.WorkerState
	Retiring   string          `json:"retiring"` // why it is to be replaced; "" if it is to stay
	Generation int             `json:"generation"`
	Slots      int             `json:"slots"`    // requests that it can work on at once
	Working    int             `json:"working"`  // requests that it works on now
	Requests   uint64          `json:"requests"` // that it has finished
	Streams    int             `json:"streams"`  // responses that it streams now; each holds a slot
	Hijacked   int             `json:"hijacked"` // open connections that the app has taken over
	StartedAt  time.Time       `json:"started_at"`
	StartTime  int             `json:"start_ms"` // from the wish for it until it was ready; -1: not yet
	Uptime     int             `json:"uptime"`   // seconds since it was ready
	Memory     MemoryStatus    `json:"memory"`
	CPU        float64         `json:"cpu_percent"` // of one processor
	Current    []RequestStatus `json:"current"`
	number     int
}

// MemoryStatus is what a process takes, in bytes; 0 while that has not been read.
type MemoryStatus struct {
	RSS          int64 `json:"rss"`
	PSS          int64 `json:"pss"`
	PrivateDirty int64 `json:"private_dirty"`
	Swap         int64 `json:"swap"`
}

// RequestStatus is a request that a worker works on.
type RequestStatus struct {
	Slot    int    `json:"slot"`
	Request string `json:"request"` // its number, as in the log
	Age     int    `json:"age_ms"`
}

// QueueStatus is the line before the workers, and what has become of requests in it.
type QueueStatus struct {
	Waiting   int        `json:"waiting"`
	Limit     int        `json:"limit"`     // 0: none
	Oldest    int        `json:"oldest_ms"` // how long the first one has waited
	Time      QueueTimes `json:"time_ms"`
	Abandoned uint64     `json:"abandoned"` // clients that have gone before a worker took their requests
	Full      uint64     `json:"full"`      // refused because of the limit
	TimedOut  uint64     `json:"timed_out"` // refused because of max_request_queue_time
}

// QueueTimes is how long requests have waited for a worker, in milliseconds.
type QueueTimes struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// ConnectionsStatus is the connections of clients.
type ConnectionsStatus struct {
	Open     int    `json:"open"`
	Hijacked int    `json:"hijacked"` // of these, taken over by the app
	Limit    int    `json:"limit"`    // 0: none
	Refused  uint64 `json:"refused"`
}

// RestartStatus is what there is to know about restarts.
type RestartStatus struct {
	Active bool       `json:"active"` // new processes are starting, or old ones wait to be replaced
	Method string     `json:"method"` // of it, or of the last one; "" if there was none
	Count  int        `json:"count"`  // that have taken over
	LastAt *time.Time `json:"last_at"`
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
	s.Queue = queueStatus(line, e.options.MaxRequestQueueSize)
	connections := e.server.Connections()
	s.Connections = ConnectionsStatus{Open: connections.Open, Hijacked: e.tunnels.Count(), Limit: connections.Limit, Refused: connections.Refused}
	if report := e.admin.staticCache; report != nil {
		s.StaticCache = report()
	}
	if report := e.admin.responseCache; report != nil {
		s.ResponseCache = report()
	}
	if report := e.admin.cable; report != nil {
		s.Cable = report()
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
	known := Status{Boots: s.generations, BootError: s.lastFailure, Pool: s.poolStatus(), Restart: s.restartStatus(),
		Generations: []GenerationStatus{}, Workers: []WorkerStatus{}}
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
	for _, g := range s.all() {
		known.Generations = append(known.Generations, g.status())
	}
	for _, g := range []*generation{s.next, s.current} { // the serving one is the last to set it
		if g != nil {
			status := g.status()
			known.Generation = &status
		}
	}
	slices.SortFunc(known.Generations, func(a, b GenerationStatus) int { return cmp.Compare(a.Number, b.Number) })
	now, clock := time.Now(), monotonicNow()
	for _, w := range s.workers {
		summary := w.summary(now, clock)
		summary.Hijacked = s.tunnels.CountOf(uint32(w.pid()))
		summary.Streams = w.seat.Streaming()
		known.Pool.Streams += summary.Streams
		known.Workers = append(known.Workers, summary)
	}
	slices.SortFunc(known.Workers, func(a, b WorkerStatus) int { return cmp.Compare(a.number, b.number) })
	return known
}

func (s *supervisor) poolStatus() PoolStatus {
	v := s.view()
	threads := s.options.Threads()
	if s.current != nil {
		threads = s.current.threads
	}
	return PoolStatus{
		Size: len(s.workers), Min: s.policy.Min, Max: s.policy.Max, Target: v.Target, Ready: v.Ready + v.Unproven + v.Away, Starting: v.Starting,
		Retiring: v.Retiring, Threads: threads, CrashLoop: s.brake.On(), Failures: s.brake.Failures(),
	}
}

func (s *supervisor) restartStatus() RestartStatus {
	status := RestartStatus{Active: s.restarts.active || len(s.retiring) > 0, Method: s.restarts.method, Count: s.restarts.count}
	if !s.restarts.last.IsZero() {
		last := s.restarts.last.UTC().Truncate(time.Second)
		status.LastAt = &last
	}
	return status
}

func queueStatus(line dispatch.Stats, limit int) QueueStatus {
	t := line.QueueTime
	status := QueueStatus{
		Waiting: line.Waiting, Limit: limit, Oldest: int(line.Oldest.Milliseconds()),
		Time:      QueueTimes{Count: t.Count, P50: milliseconds(t.P50), P95: milliseconds(t.P95), P99: milliseconds(t.P99), Max: milliseconds(t.Max)},
		Abandoned: line.Abandoned, Full: line.QueueFull, TimedOut: line.QueueTimeouts,
	}
	if t.Count > 0 {
		status.Time.Mean = milliseconds(t.Sum) / float64(t.Count)
	}
	return status
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (g *generation) status() GenerationStatus {
	status := GenerationStatus{Number: g.Number(), State: g.state.String()}
	if g.preloader != nil {
		status.Preloader = g.preloader.PID()
	}
	return status
}

// summary reads the scoreboard: as long as the worker is among those of its
// generation, that is not closed. clock is now on CLOCK_MONOTONIC.
func (w *worker) summary(now time.Time, clock int64) WorkerStatus {
	status := WorkerStatus{
		PID: w.pid(), ID: w.seat.ID(), State: w.state.String(), Retiring: w.retiring, Generation: w.generation.Number(),
		StartedAt: w.started.UTC().Truncate(time.Millisecond), StartTime: -1, CPU: math.Round(w.cpu.percent*10) / 10,
		Memory:  MemoryStatus{RSS: w.memory.RSS, PSS: w.memory.PSS, PrivateDirty: w.memory.PrivateDirty, Swap: w.memory.Swap},
		Current: []RequestStatus{}, number: w.number,
	}
	if !w.ready.IsZero() {
		status.StartTime, status.Uptime = int(w.ready.Sub(w.started).Milliseconds()), int(now.Sub(w.ready).Seconds())
	}
	for _, slot := range w.seat.Slots() {
		record := w.generation.Board().Slot(slot)
		status.Slots++
		status.Requests += record.Finished
		if slotWorking(record) && w.state != pool.WorkerStarting {
			status.Working++
			age := max(clock-record.StartedAt, 0) / int64(time.Millisecond)
			status.Current = append(status.Current, RequestStatus{Slot: slot, Request: requestNumber(record.RequestID), Age: int(age)})
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
