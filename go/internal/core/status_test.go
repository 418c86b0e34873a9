package core

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"passenger/go/internal/config"
	"passenger/go/internal/dispatch"
	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
	"passenger/go/internal/pool"
	"passenger/go/internal/spawn"
	"passenger/go/internal/tunnel"
)

// newIdleSupervisor has no processes, and no goroutine that runs it.
func newIdleSupervisor(t *testing.T) *supervisor {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	d := dispatch.New(dispatch.Options{Log: log, Pressure: func() {}})
	return newSupervisor(config.Options{MaxPoolSize: 2, ThreadCount: 2}, d, new(tunnel.Set), nil, log, nil)
}

// seated adds a generation with one worker of two slots.
func seated(t *testing.T, s *supervisor, number int, state pool.GenerationState) (*generation, *worker) {
	t.Helper()
	dg, err := s.dispatcher.NewGeneration(number, 2)
	if err != nil {
		t.Fatal(err)
	}
	seat, peers, err := dg.NewSeat(2, func() {})
	if err != nil {
		t.Fatal(err)
	}
	g := &generation{Generation: dg, state: state, threads: 2, workers: map[int]*worker{}}
	w := &worker{number: number, process: &spawn.Worker{Number: number}, generation: g, seat: seat, state: pool.WorkerReady}
	g.workers[number], s.workers[number] = w, w
	t.Cleanup(func() {
		for _, p := range peers {
			p.Close()
		}
		seat.Close()
		if err := dg.Close(); err != nil {
			t.Error(err)
		}
	})
	return g, w
}

func TestTheStatusOfTheProcessesIsThatOfTheScoreboard(t *testing.T) {
	s := newIdleSupervisor(t)
	s.generations = 7
	old, leaving := seated(t, s, 3, pool.GenerationDraining)
	leaving.state = pool.WorkerLeaving
	s.draining[old] = true
	g, w := seated(t, s, 5, pool.GenerationServing)
	s.current = g
	next, starting := seated(t, s, 6, pool.GenerationBooting)
	starting.state = pool.WorkerStarting
	s.next = next
	g.Board().Set(w.seat.Slots()[0], link.SlotStatus{State: link.SlotWorking, Finished: 30, PID: 1})
	g.Board().Set(w.seat.Slots()[1], link.SlotStatus{State: link.SlotIdle, Finished: 12, PID: 1})

	known := s.snapshot()
	if known.State != stateServing || known.Boots != 7 || known.Generation.Number != 5 || known.BootError != nil {
		t.Errorf("%+v", known)
	}
	states := []string{}
	for _, g := range known.Generations {
		states = append(states, fmt.Sprint(g.Number, g.State))
	}
	if want := []string{"3draining", "5serving", "6booting"}; !slices.Equal(states, want) {
		t.Errorf("generations %q", states)
	}
	workers := []string{}
	for _, w := range known.Workers {
		workers = append(workers, fmt.Sprint(w.Generation, w.State, " ", w.Working, "/", w.Slots, " ", w.Requests, " ", len(w.Current)))
	}
	if want := []string{"3leaving 0/2 0 0", "5ready 1/2 42 1", "6starting 0/2 0 0"}; !slices.Equal(workers, want) {
		t.Errorf("workers %q", workers)
	}
	if p := known.Pool; p.Size != 3 || p.Ready != 1 || p.Max != 2 || p.Threads != 2 || p.CrashLoop {
		t.Errorf("%+v", p)
	}
	text, err := json.Marshal(Status{})
	if err != nil || !strings.Contains(string(text), `"boot_error":null`) || !strings.Contains(string(text), `"static_cache":null`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestAWorkerDoesNotInheritTheCountOfTheOneWhoseSlotItGets(t *testing.T) {
	s := newIdleSupervisor(t)
	g, w := seated(t, s, 1, pool.GenerationServing)
	slot := w.seat.Slots()[0]
	g.Board().Set(slot, link.SlotStatus{State: link.SlotIdle, Finished: 30, Sequence: 9, PID: 1})
	g.Board().Vacate(slot)
	if n := w.summary(time.Now(), 0).Requests; n != 0 {
		t.Errorf("it begins with %d requests", n)
	}
	if g.Board().HighestSequence() != 9 {
		t.Error("the sequence number has been forgotten with it")
	}
}

func TestTheStateOfTheServerFollowsItsGenerations(t *testing.T) {
	for want, set := range map[string]func(*supervisor, *generation){
		stateFailed:   func(*supervisor, *generation) {},
		stateBooting:  func(s *supervisor, g *generation) { s.next = g },
		stateServing:  func(s *supervisor, g *generation) { s.current = g },
		stateStopping: func(s *supervisor, g *generation) { s.draining[g], s.stopping = true, true },
	} {
		s := newIdleSupervisor(t)
		g, _ := seated(t, s, 1, pool.GenerationServing)
		set(s, g)
		if got := s.snapshot().State; got != want {
			t.Errorf("%s instead of %s", got, want)
		}
	}
}

func TestABootErrorIsShownUntilThatOrALaterGenerationServes(t *testing.T) {
	s := newIdleSupervisor(t)
	err := bootError("LoadError", strings.Repeat("é", 5000))
	s.noteFailure(4, err)
	s.noteReady(3) // a restart has failed; a process of the old generation has been replaced
	shown := s.snapshot().BootError
	if shown == nil || shown.ID != err.ID || shown.Class != "LoadError" || shown.At.IsZero() {
		t.Fatalf("%+v", shown)
	}
	if len(shown.Message) > 2100 || !strings.HasPrefix(shown.Message, "éé") || !strings.HasSuffix(shown.Message, "é…") {
		t.Errorf("the message is %d bytes: %.10s", len(shown.Message), shown.Message)
	}
	for _, later := range []int{4, 5} {
		s.noteFailure(4, err)
		s.noteReady(later)
		if s.snapshot().BootError != nil {
			t.Errorf("generation %d serves and the error is still shown", later)
		}
	}
}

func TestTheSupervisorIsAskedByAnEvent(t *testing.T) {
	s := newIdleSupervisor(t)
	go func() { s.handle(<-s.events) }()
	if known, err := s.status(20 * time.Second); err != nil || known.State != stateFailed {
		t.Errorf("%+v, %v", known, err)
	}
	if _, err := s.status(time.Nanosecond); err == nil {
		t.Error("a supervisor that does not answer has answered")
	}
	close(s.ended)
	if known, err := s.status(20 * time.Second); err != nil || known.State != stateStopped || known.Workers == nil {
		t.Errorf("%+v, %v", known, err)
	}
}

func TestTheStatusNamesTheServer(t *testing.T) {
	s := newIdleSupervisor(t)
	go func() { s.handle(<-s.events) }()
	e := &Engine{
		supervisor: s, dispatcher: s.dispatcher, server: httpd.NewServer(nil, nil, slog.New(slog.DiscardHandler)),
		options: config.Options{Environment: "production", AppRoot: "/srv/app", MaxRequestQueueSize: 100, Environ: []string{"SECRET_KEY_BASE=hidden"}},
		admin:   administration{url: "http://127.0.0.1:3000/", started: time.Now().Add(-90 * time.Second), responseCache: func() any { return "cached" }},
	}
	text, err := json.Marshal(e.status())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"version": Version, "pid": float64(os.Getpid()), "url": "http://127.0.0.1:3000/", "environment": "production",
		"app_root": "/srv/app", "response_cache": "cached", "static_cache": nil,
	} {
		if got[key] != want {
			t.Errorf("%s is %v", key, got[key])
		}
	}
	if up := got["uptime"].(float64); up < 90 || up > 1000 {
		t.Errorf("uptime %v", up)
	}
	if strings.Contains(string(text), "hidden") {
		t.Error("it tells secrets")
	}
}

func TestTheTemporaryDirectoryIsThatOfTheEnvironmentGiven(t *testing.T) {
	for want, environ := range map[string][]string{
		"/tmp": {"TMPDIR="},
		"/var": {"A=b", "TMPDIR=/var"},
	} {
		if got := temporaryDir(environ); got != want {
			t.Errorf("%v: %s", environ, got)
		}
	}
}
