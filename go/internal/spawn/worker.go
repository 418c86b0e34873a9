package spawn

import (
	"errors"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"passenger/go/internal/link"
)

// Worker is an application process. It is a child of its preloader, not of
// the engine, so its end is seen through a pidfd and its control socket.
type Worker struct {
	Number int

	control *link.Control
	report  func(Event)

	mu    sync.Mutex
	pid   int
	pidfd *os.File
	gone  bool
}

func newWorker(number int, control *link.Control, report func(Event)) *Worker {
	w := &Worker{Number: number, control: control, report: report}
	go w.listen()
	return w
}

func (w *Worker) listen() {
	for {
		m, err := w.control.Receive()
		if err != nil {
			w.hungUp()
			return
		}
		m.Close()
		pid, _ := strconv.Atoi(m.Get("pid"))
		switch m.Verb {
		case "ready":
			w.report(WorkerReady{Worker: w.Number, PID: pid})
		case "boot_error":
			w.report(WorkerBootFailed{Worker: w.Number, Err: bootError(m)})
		}
	}
}

// hangUpPatience is how long a process may outlive its control socket. The
// kernel closes that with the process; a process that goes on without it can
// no longer be told anything.
const hangUpPatience = 2 * time.Second

// hungUp waits for the end of a process that has closed its control socket.
func (w *Worker) hungUp() {
	w.mu.Lock()
	watched := w.pidfd != nil
	w.mu.Unlock()
	if watched {
		time.Sleep(hangUpPatience)
		w.Kill()
		return
	}
	w.end()
}

// Watch begins to watch the process. If it has ended already, that is reported.
func (w *Worker) Watch(pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err == unix.ESRCH {
		w.end()
		return nil
	}
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return err
	}
	w.mu.Lock()
	w.pid, w.pidfd = pid, file
	w.mu.Unlock()
	go func() {
		// A pidfd becomes readable when its process has ended.
		err := raw.Read(func(fd uintptr) bool {
			polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(polled, 0)
			return n > 0 || (err != nil && err != unix.EINTR)
		})
		if err == nil {
			w.end()
		}
	}()
	return nil
}

// PID is the process id, 0 while it is not known.
func (w *Worker) PID() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pid
}

func (w *Worker) end() {
	w.mu.Lock()
	first := !w.gone
	w.gone = true
	if w.pidfd != nil {
		w.pidfd.Close()
		w.pidfd = nil
	}
	w.mu.Unlock()
	w.control.Close()
	if first {
		w.report(WorkerGone{Worker: w.Number})
	}
}

// Stop asks the worker to finish what it has begun and to leave.
func (w *Worker) Stop() error { return w.control.Send(link.Message{Verb: "stop"}) }

// StopKeeping is Stop for a worker that is to stay while the app holds
// connections that it has taken over.
func (w *Worker) StopKeeping() error {
	return w.control.Send(link.Message{Verb: "stop", Fields: map[string]string{"keep_hijacked": "1"}})
}

// Kill ends the process at once. It never hits another process that has got
// the same id since.
func (w *Worker) Kill() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pidfd == nil {
		return nil
	}
	raw, err := w.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var killErr error
	if err := raw.Control(func(fd uintptr) {
		killErr = unix.PidfdSendSignal(int(fd), syscall.SIGKILL, nil, 0)
	}); err != nil {
		return err
	}
	if errors.Is(killErr, unix.ESRCH) {
		return nil
	}
	return killErr
}
