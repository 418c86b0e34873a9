package spawn

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"passenger/go/internal/dispatch"
	"passenger/go/internal/link"
)

// App says what to load and how.
type App struct {
	Ruby           string // path of the interpreter
	Script         string // path of preloader.rb
	Root           string
	StartupFile    string // config.ru
	Environment    string // RAILS_ENV
	Threads        int    // per worker
	Direct         bool   // spawn_method direct: each worker loads the app itself
	ServerSoftware string
	LogToStdout    bool
	XAccelMapping  string   // as in the header X-Accel-Mapping: DIR/=/prefix/, several joined by commas
	Environ        []string // inherited environment
	Output         *os.File // standard output and error of the app
	// CableSocket says where the socket of the broker for Action Cable is; nil if there is none.
	CableSocket func() string
}

// Preloader is a process that has the app loaded and forks workers from it or,
// with direct spawning, becomes one.
type Preloader struct {
	Generation int

	control *link.Control
	report  func(Event)
	process *process
	direct  bool
	done    chan struct{}

	mu     sync.Mutex
	closed bool
	worker int // that it has become, with direct spawning; 0: none
}

// exitPatience is how long a preloader may take to end after its control
// socket has been closed, before it is killed.
const exitPatience = 5 * time.Second

// Start runs a new preloader for a generation. Events are reported from
// another goroutine.
func Start(app App, g *dispatch.Generation, report func(Event)) (*Preloader, error) {
	control, peer, err := link.NewControlPair()
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	cmd := exec.Command(app.Ruby, app.Script)
	cmd.Dir = app.Root
	cmd.Env = environment(app.Environ)
	cmd.ExtraFiles = []*os.File{peer}
	cmd.Stdout, cmd.Stderr = app.Output, app.Output
	if app.Output == nil {
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	}
	if err := cmd.Start(); err != nil {
		control.Close()
		return nil, fmt.Errorf("starting the preloader: %w", err)
	}
	pid := cmd.Process.Pid
	cmd.Process.Release() // it is held, and reaped, by its pidfd
	return begin(app, g, control, pid, report)
}

// Adopt takes over a preloader that was forked from an app which is already
// loaded. control is the engine's end of its control socket.
func Adopt(app App, g *dispatch.Generation, control *os.File, pid int, report func(Event)) (*Preloader, error) {
	if err := syscall.SetNonblock(int(control.Fd()), true); err != nil {
		return nil, fmt.Errorf("control socket of the preloader: %w", err)
	}
	fd, err := syscall.Dup(int(control.Fd()))
	if err != nil {
		return nil, fmt.Errorf("control socket of the preloader: %w", err)
	}
	control.Close()
	syscall.CloseOnExec(fd)
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("control socket of the preloader: %w", err)
	}
	c, err := link.NewControl(os.NewFile(uintptr(fd), "control"))
	if err != nil {
		return nil, err
	}
	return begin(app, g, c, pid, report)
}

// AdoptPromoted takes over a preloader that a worker has forked from itself
// (see Worker.Promote).
func AdoptPromoted(app App, g *dispatch.Generation, control *link.Control, pid int, report func(Event)) (*Preloader, error) {
	return begin(app, g, control, pid, report)
}

func begin(app App, g *dispatch.Generation, control *link.Control, pid int, report func(Event)) (*Preloader, error) {
	process, err := openProcess(pid)
	if err != nil {
		control.Close()
		return nil, fmt.Errorf("preloader %d: %w", pid, err)
	}
	p := &Preloader{Generation: g.Number(), control: control, report: report, process: process, direct: app.Direct, done: make(chan struct{})}
	go p.listen()
	logToStdout, method, cableSocket := "0", "smart", ""
	if app.LogToStdout {
		logToStdout = "1"
	}
	if app.Direct {
		method = "direct"
	}
	if app.CableSocket != nil {
		cableSocket = app.CableSocket()
	}
	err = control.Send(link.Message{
		Verb: "hello",
		Fields: map[string]string{
			"version":         strconv.Itoa(link.ProtocolVersion),
			"generation":      strconv.Itoa(g.Number()),
			"app_root":        app.Root,
			"startup_file":    app.StartupFile,
			"environment":     app.Environment,
			"threads":         strconv.Itoa(app.Threads),
			"spawn_method":    method,
			"capacity":        strconv.Itoa(g.Board().Slots()),
			"server_software": app.ServerSoftware,
			"log_to_stdout":   logToStdout,
			"x_accel_mapping": app.XAccelMapping,
			"cable_socket":    cableSocket,
		},
		Files: []*os.File{g.Queue().WorkersEnd(), g.Board().File()},
	})
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("preloader %d: %w", pid, err)
	}
	return p, nil
}

// PID is the process id of the preloader.
func (p *Preloader) PID() int { return p.process.pid }

// listen turns messages into events until the preloader has ended, or has
// become a worker.
func (p *Preloader) listen() {
	defer close(p.done)
	for {
		m, err := p.control.Receive()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				p.kill()
			}
			break
		}
		m.Close() // no message of a preloader carries files
		if e := p.event(m); e != nil {
			p.report(e)
		}
	}
	p.Close()
	defer p.process.release()
	if p.becameWorker() {
		return // that is watched, and reaped, as a worker
	}
	killer := time.AfterFunc(exitPatience, p.kill)
	defer killer.Stop()
	status, err := p.process.wait()
	if err != nil || status == "" {
		status = "ended" // its parent is another process, which knows more
	}
	p.report(PreloaderGone{Preloader: p, Status: status})
}

func (p *Preloader) becameWorker() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.worker != 0
}

func (p *Preloader) event(m link.Message) Event {
	worker, _ := strconv.Atoi(m.Get("worker"))
	pid, _ := strconv.Atoi(m.Get("pid"))
	switch m.Verb {
	case "loaded":
		return p.loaded(m)
	case "boot_error":
		return BootFailed{Preloader: p, Err: bootError(m)}
	case "spawned":
		if p.direct {
			p.mu.Lock()
			p.worker = worker
			p.mu.Unlock()
		}
		return Spawned{Preloader: p, Worker: worker, PID: pid}
	case "spawn_error":
		return SpawnFailed{Preloader: p, Worker: worker, Message: m.Get("message")}
	case "exited":
		return Exited{Worker: worker, Status: m.Get("status")}
	}
	return nil
}

func bootError(m link.Message) *dispatch.BootError {
	return &dispatch.BootError{
		ID: m.Get("id"), Class: m.Get("class"), Message: m.Get("message"), Backtrace: m.Get("backtrace"),
		File: m.Get("file"), Line: m.Get("line"), Excerpt: m.Get("excerpt"),
	}
}

// Spawn asks for a worker on the given seat. peers are the worker's ends of its
// slot streams, and of its own queue if the seat has one; they are closed.
func (p *Preloader) Spawn(worker int, seat *dispatch.Seat, peers []*os.File) (*Worker, error) {
	if own := seat.DirectPeer(); own != nil {
		peers = append(peers, own)
	}
	defer func() {
		for _, f := range peers {
			f.Close()
		}
	}()
	control, peer, err := link.NewControlPair()
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	fields := map[string]string{
		"worker": strconv.Itoa(worker), "slots": joinNumbers(seat.Slots()), "place": strconv.Itoa(seat.Place()), "id": strconv.FormatUint(uint64(seat.ID()), 10),
	}
	if seat.DirectPeer() != nil {
		fields["direct_queue"] = "1"
	}
	err = p.control.Send(link.Message{Verb: "spawn", Fields: fields, Files: append([]*os.File{peer}, peers...)})
	if err != nil {
		control.Close()
		return nil, err
	}
	return newWorker(worker, control, p.report), nil
}

func joinNumbers(numbers []int) string {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ",")
}

// Close ends the conversation: the preloader leaves, its workers stay.
func (p *Preloader) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		p.control.Close()
	}
}

// Kill ends the preloader at once.
func (p *Preloader) Kill() {
	p.kill()
	p.Close()
}

// kill does nothing to a process that has ended, which is all that can go wrong.
func (p *Preloader) kill() { _ = p.process.kill() }

// Wait returns when the preloader has ended and been reaped.
func (p *Preloader) Wait() { <-p.done }
