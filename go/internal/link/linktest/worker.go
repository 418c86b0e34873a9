// Package linktest is a stand-in for a worker thread, for tests of the engine
// without Ruby. It speaks the same protocol from the other ends.
package linktest

import (
	"encoding/binary"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"passenger/go/internal/link"
)

// Worker is one slot that answers requests.
type Worker struct {
	Queue *os.File // the workers' end
	// Direct, if not nil, is the worker's own queue, which comes first.
	Direct *os.File
	Slot   *os.File // the worker's end of the slot stream
	Board  *link.Scoreboard
	Index  int
	// Answer returns the frames to write for a request message. It is called
	// between the two scoreboard entries and must not keep the message.
	Answer func(message []byte, id uint64) []byte
	// File, if not nil, goes along with every answer.
	File *os.File
	// Given has files that go along with one answer each, and are closed then.
	Given chan *os.File

	buf [link.MaxMessage]byte
}

// ID of a request message.
func ID(message []byte) uint64 { return binary.LittleEndian.Uint64(message[8:]) }

// Run serves until the queue ends or stop is closed between requests. Each
// request without allocations of its own.
func (w *Worker) Run() {
	queue, slot := int(w.Queue.Fd()), int(w.Slot.Fd())
	finished, sequence := uint64(0), w.Board.Slot(w.Index).Sequence
	for {
		n, own := w.receive(queue)
		if n == 0 {
			return
		}
		id := ID(w.buf[:n])
		if !own {
			sequence = id >> 24
		}
		startedAt := link.Now()
		w.Board.Set(w.Index, link.SlotStatus{State: link.SlotWorking, PID: 1, RequestID: id, StartedAt: startedAt, Sequence: sequence, Finished: finished})
		frames := w.Answer(w.buf[:n], id)
		if frames == nil {
			return // died without an answer
		}
		file, given := w.File, false
		select {
		case file = <-w.Given:
			given = true
		default:
		}
		if file != nil {
			// One byte takes it along; the rest of the frame follows.
			if err := unix.Sendmsg(slot, frames[:1], unix.UnixRights(int(file.Fd())), nil, 0); err != nil {
				return
			}
			frames = frames[1:]
		}
		if given {
			file.Close()
		}
		for len(frames) > 0 {
			n, err := unix.Write(slot, frames)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return
			}
			frames = frames[n:]
		}
		finished++
		w.Board.Set(w.Index, link.SlotStatus{State: link.SlotIdle, PID: 1, RequestID: id, StartedAt: startedAt, Sequence: sequence, Finished: finished})
	}
}

// receive waits for a message; 0 at the end of a queue.
func (w *Worker) receive(queue int) (n int, own bool) {
	if w.Direct == nil {
		return w.take(queue, 0), false
	}
	direct := int(w.Direct.Fd())
	for {
		if n := w.take(direct, unix.MSG_DONTWAIT); n >= 0 {
			return n, true
		}
		if n := w.take(queue, unix.MSG_DONTWAIT); n >= 0 {
			return n, false
		}
		// A herd of stand-ins may well thunder.
		fds := []unix.PollFd{{Fd: int32(direct), Events: unix.POLLIN}, {Fd: int32(queue), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return 0, false
		}
	}
}

// take receives one message; 0 at the end, -1 if there is none now.
func (w *Worker) take(fd, flags int) int {
	for {
		n, _, errno := syscall.Syscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&w.buf[0])), uintptr(len(w.buf)), uintptr(flags), 0, 0)
		switch errno {
		case 0:
			return int(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			return -1
		default:
			return 0
		}
	}
}
