package spawn

import (
	"errors"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"passenger/go/internal/link"
)

// Worker is an application process. It is a child of its preloader, or of the
// engine; its end is seen through a pidfd and its control socket.
type Worker struct {
	Number int

	control *link.Control
	report  func(Event)

	mu      sync.Mutex
	process *process // nil while it is not known, and after its end
	pid     int
	gone    bool
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
		if e := w.event(m); e != nil {
			w.report(e)
		}
	}
}

func (w *Worker) event(m link.Message) Event {
	pid, _ := strconv.Atoi(m.Get("pid"))
	switch m.Verb {
	case "ready":
		return WorkerReady{Worker: w.Number, PID: pid}
	case "boot_error":
		return WorkerBootFailed{Worker: w.Number, Err: bootError(m)}
	case "farewell_over":
		return FarewellOver{Worker: w.Number}
	case "oob_wanted":
		return OutOfBandWanted{Worker: w.Number}
	case "oob_done":
		return OutOfBandDone{Worker: w.Number}
	case "backtrace":
		return Backtrace{Worker: w.Number, Token: m.Get("token"), Text: m.Get("text")}
	case "promoted":
		return Promoted{Worker: w.Number, PID: pid}
	case "promote_error":
		return PromoteFailed{Worker: w.Number, Message: m.Get("message")}
	}
	return nil
}

// hangUpPatience is how long a process may outlive its control socket. The
// kernel closes that with the process; a process that goes on without it can
// no longer be told anything.
const hangUpPatience = 2 * time.Second

// hungUp waits for the end of a process that has closed its control socket.
func (w *Worker) hungUp() {
	w.mu.Lock()
	watched := w.process != nil
	w.mu.Unlock()
	if watched {
		time.Sleep(hangUpPatience)
		w.Kill()
		return
	}
	w.end("")
}

// Watch begins to watch the process. If it has ended already, that is reported.
func (w *Worker) Watch(pid int) error {
	process, err := openProcess(pid)
	if err == unix.ESRCH {
		w.end("")
		return nil
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.pid, w.process = pid, process
	w.mu.Unlock()
	go func() {
		if status, err := process.wait(); err == nil {
			w.end(status)
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

// end reports the end of the process, once; status is "" if somebody else has reaped it.
func (w *Worker) end(status string) {
	w.mu.Lock()
	first := !w.gone
	w.gone = true
	if w.process != nil {
		w.process.release()
		w.process = nil
	}
	w.mu.Unlock()
	w.control.Close()
	if first {
		w.report(WorkerGone{Worker: w.Number, Status: status})
	}
}

// Farewell is what becomes of the connections that the app has taken over, in a
// worker that is to leave.
type Farewell struct {
	// Keep has the worker stay while the app holds such connections.
	Keep bool
	// Spread is over how long the clients of Action Cable are told to connect
	// again: they are not to come all at once.
	Spread time.Duration
}

func (f Farewell) fields() map[string]string {
	if f.Keep {
		return map[string]string{"keep_hijacked": "1"}
	}
	return map[string]string{"spread_ms": strconv.FormatInt(f.Spread.Milliseconds(), 10)}
}

// Stop asks the worker to finish what it has begun and to leave. FarewellOver
// may follow.
func (w *Worker) Stop(f Farewell) error { return w.tell("stop", f.fields()) }

// WorkOutOfBand has the worker do its out-of-band work (Passenger's :oob_work),
// for which it takes no requests; OutOfBandDone tells the end.
func (w *Worker) WorkOutOfBand() error { return w.tell("oob_work", nil) }

// AskBacktrace has the worker tell where the threads of these slots are, in a
// Backtrace event with the token. No slots: all threads.
func (w *Worker) AskBacktrace(token string, slots []int) error {
	return w.tell("backtrace", map[string]string{"token": token, "slots": joinNumbers(slots)})
}

// ClientGone tells the worker that nobody reads the response to this request any
// more, which is streamed in that slot.
func (w *Worker) ClientGone(slot int, id uint64) error {
	return w.tell("client_gone", map[string]string{"slot": strconv.Itoa(slot), "request": strconv.FormatUint(id, 10)})
}

// Promote has the worker finish what it has begun, fork a preloader from itself
// and leave. The preloader's control socket is returned; Promoted tells its process.
func (w *Worker) Promote(f Farewell) (*link.Control, error) {
	control, peer, err := link.NewControlPair()
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	if err := w.tell("promote", f.fields(), peer); err != nil {
		return nil, errors.Join(err, control.Close())
	}
	return control, nil
}

func (w *Worker) tell(verb string, fields map[string]string, files ...*os.File) error {
	return w.control.Send(link.Message{Verb: verb, Fields: fields, Files: files})
}

// Kill ends the process at once. It never hits another process that has got
// the same id since.
func (w *Worker) Kill() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.process == nil {
		return nil
	}
	return w.process.kill()
}
