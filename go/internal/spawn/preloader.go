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
	ServerSoftware string
	LogToStdout    bool
	XAccelMapping  string   // as in the header X-Accel-Mapping: DIR/=/prefix/, several joined by commas
	Environ        []string // inherited environment
	Output         *os.File // standard output and error of the app
}

// Preloader is a process that has the app loaded and forks workers from it.
type Preloader struct {
	Generation int

	pid     int
	control *link.Control
	report  func(Event)
	process *os.Process
	done    chan struct{}

	mu     sync.Mutex
	closed bool
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
	return begin(app, g, control, cmd.Process, report)
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
	process, err := os.FindProcess(pid)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("preloader %d: %w", pid, err)
	}
	return begin(app, g, c, process, report)
}

func begin(app App, g *dispatch.Generation, control *link.Control, process *os.Process, report func(Event)) (*Preloader, error) {
	p := &Preloader{Generation: g.Number(), pid: process.Pid, control: control, report: report, process: process, done: make(chan struct{})}
	go p.listen()
	logToStdout := "0"
	if app.LogToStdout {
		logToStdout = "1"
	}
	err := control.Send(link.Message{
		Verb: "hello",
		Fields: map[string]string{
			"version":         strconv.Itoa(link.ProtocolVersion),
			"generation":      strconv.Itoa(g.Number()),
			"app_root":        app.Root,
			"startup_file":    app.StartupFile,
			"environment":     app.Environment,
			"threads":         strconv.Itoa(app.Threads),
			"capacity":        strconv.Itoa(g.Board().Slots()),
			"server_software": app.ServerSoftware,
			"log_to_stdout":   logToStdout,
			"x_accel_mapping": app.XAccelMapping,
		},
		Files: []*os.File{g.Queue().WorkersEnd(), g.Board().File()},
	})
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("preloader %d: %w", p.pid, err)
	}
	return p, nil
}

// PID is the process id of the preloader.
func (p *Preloader) PID() int { return p.pid }

// listen turns messages into events until the preloader has ended.
func (p *Preloader) listen() {
	defer close(p.done)
	for {
		m, err := p.control.Receive()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				p.process.Kill()
			}
			break
		}
		m.Close() // no message of a preloader carries files
		if e := p.event(m); e != nil {
			p.report(e)
		}
	}
	p.Close()
	killer := time.AfterFunc(exitPatience, func() { p.process.Kill() })
	status := "ended"
	if state, err := p.process.Wait(); err == nil {
		status = state.String()
	}
	killer.Stop()
	p.report(PreloaderGone{Preloader: p, Status: status})
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

// Spawn asks for a worker on the given seat. peers are the workers' ends of
// its slot streams; they are closed.
func (p *Preloader) Spawn(worker int, seat *dispatch.Seat, peers []*os.File) (*Worker, error) {
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
	slots := make([]string, len(seat.Slots()))
	for i, s := range seat.Slots() {
		slots[i] = strconv.Itoa(s)
	}
	err = p.control.Send(link.Message{
		Verb:   "spawn",
		Fields: map[string]string{"worker": strconv.Itoa(worker), "slots": strings.Join(slots, ",")},
		Files:  append([]*os.File{peer}, peers...),
	})
	if err != nil {
		control.Close()
		return nil, err
	}
	return newWorker(worker, control, p.report), nil
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
	p.process.Kill()
	p.Close()
}

// Wait returns when the preloader has ended and been reaped.
func (p *Preloader) Wait() { <-p.done }
