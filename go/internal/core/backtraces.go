package core

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"passenger/go/internal/admin"
	"passenger/go/internal/spawn"
)

// backtraces are questions to workers where their threads are.
type backtraces struct {
	asked   int
	waiting map[string]chan<- string // by token; the others are for the log
}

// forLog has a worker tell where the threads of these slots are.
func (b *backtraces) forLog(s *supervisor, w *worker, slots []int) {
	if err := w.process.AskBacktrace(b.token(), slots); err != nil {
		s.log.Warn("application process cannot be asked where it hangs", "worker", w.pid(), "error", err)
	}
}

func (b *backtraces) token() string {
	b.asked++
	return strconv.Itoa(b.asked)
}

func (s *supervisor) backtraceCame(e spawn.Backtrace) {
	if reply := s.backtraces.waiting[e.Token]; reply != nil {
		delete(s.backtraces.waiting, e.Token)
		reply <- e.Text
		return
	}
	pid := 0
	if w := s.workers[e.Worker]; w != nil {
		pid = w.pid()
	}
	s.log.Error("where the application hangs", "worker", pid, "backtrace", e.Text)
}

// backtraceWanted asks for the backtraces of a worker's threads.
type backtraceWanted struct {
	pid   int
	reply chan string // buffered; closed when there is no such worker
}

func (s *supervisor) backtraceWanted(e backtraceWanted) {
	w := s.byPID(e.pid)
	if w == nil || w.process == nil {
		close(e.reply)
		return
	}
	token := s.backtraces.token()
	if err := w.process.AskBacktrace(token, nil); err != nil {
		close(e.reply)
		return
	}
	if s.backtraces.waiting == nil {
		s.backtraces.waiting = map[string]chan<- string{}
	}
	s.backtraces.waiting[token] = e.reply
	time.AfterFunc(backtracePatience, func() { s.post(backtraceMissing{token}) })
}

// backtraceMissing ends the waiting for an answer, if it has not come.
type backtraceMissing struct{ token string }

func (s *supervisor) backtraceMissing(e backtraceMissing) {
	if reply := s.backtraces.waiting[e.token]; reply != nil {
		delete(s.backtraces.waiting, e.token)
		reply <- ""
	}
}

// backtracePatience is how long a worker may take to answer: Ruby code runs
// only when no extension holds the interpreter's lock.
const backtracePatience = 3 * time.Second

var errNoAnswer = errors.New("the process does not answer: an extension in C may be holding Ruby's lock")

// backtrace is the text for the admin interface.
func (s *supervisor) backtrace(pid int) (string, error) {
	reply := make(chan string, 1)
	s.post(backtraceWanted{pid, reply})
	select {
	case text, known := <-reply:
		switch {
		case !known:
			return "", noSuchWorker(pid)
		case text == "":
			return "", &admin.Error{Status: http.StatusGatewayTimeout, Message: errNoAnswer.Error()}
		}
		return text, nil
	case <-s.ended:
		return "", noSuchWorker(pid)
	}
}

func noSuchWorker(pid int) error {
	return &admin.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("no application process of this server has the process id %d", pid)}
}

func (s *supervisor) byPID(pid int) *worker {
	for _, w := range s.workers {
		if pid != 0 && w.pid() == pid {
			return w
		}
	}
	return nil
}
