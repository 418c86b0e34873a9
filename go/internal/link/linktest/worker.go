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
	Slot  *os.File // the worker's end of the slot stream
	Board *link.Scoreboard
	Index int
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
	finished := uint64(0)
	for {
		n, _, errno := syscall.Syscall6(syscall.SYS_RECVFROM, uintptr(queue), uintptr(unsafe.Pointer(&w.buf[0])), uintptr(len(w.buf)), 0, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 || n == 0 {
			return
		}
		id := ID(w.buf[:n])
		w.Board.Set(w.Index, link.SlotStatus{State: link.SlotWorking, PID: 1, RequestID: id, Sequence: id >> 24, Finished: finished})
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
		w.Board.Set(w.Index, link.SlotStatus{State: link.SlotIdle, PID: 1, RequestID: id, Sequence: id >> 24, Finished: finished})
	}
}
