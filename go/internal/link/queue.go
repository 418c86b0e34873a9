package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// queueBuffer is the send buffer asked of the kernel, in bytes; it may give
// less (net.core.wmem_max). One message of MaxMessage always fits.
const queueBuffer = 1 << 20

// ErrQueueBusy says that the kernel's buffer has no room for the message now.
var ErrQueueBusy = errors.New("request queue: no room in the socket buffer")

// Queue is the engine's end of a queue of requests: the one that the idle
// workers of a generation receive from, or the direct one of a single worker.
type Queue struct {
	engine, workers *os.File
	fd              int
}

// NewQueue makes the socket pair.
func NewQueue() (*Queue, error) {
	engine, workers, err := socketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	fd := int(engine.Fd())
	if err := unix.SetNonblock(fd, true); err != nil { // Fd has made it blocking
		engine.Close()
		workers.Close()
		return nil, fmt.Errorf("request queue: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, queueBuffer); err != nil {
		engine.Close()
		workers.Close()
		return nil, fmt.Errorf("request queue: send buffer: %w", err)
	}
	return &Queue{engine: engine, workers: workers, fd: fd}, nil
}

// WorkersEnd is the end that preloaders hand to workers.
func (q *Queue) WorkersEnd() *os.File { return q.workers }

// DuplicateWorkersEnd is that end once more, for a single worker; the caller
// closes it. Drain goes on working with the queue's own.
func (q *Queue) DuplicateWorkersEnd() (*os.File, error) {
	fd, err := unix.FcntlInt(q.workers.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("request queue: duplicating the workers' end: %w", err)
	}
	return os.NewFile(uintptr(fd), "direct queue"), nil
}

// Send puts one message in the queue; body, if not nil, travels with it.
// It never waits: ErrQueueBusy when the buffer is full.
func (q *Queue) Send(message []byte, body *os.File) error {
	var rights []byte
	if body != nil {
		rights = unix.UnixRights(int(body.Fd()))
	}
	switch errno := trySend(q.fd, message, rights); errno {
	case 0:
		return nil
	case syscall.EAGAIN, syscall.ENOBUFS, syscall.ETOOMANYREFS:
		return ErrQueueBusy
	default:
		return fmt.Errorf("request queue: %w", errno)
	}
}

// Drain takes messages that no worker has received back out of the queue and
// returns their request ids.
func (q *Queue) Drain() []uint64 {
	var ids []uint64
	var buf [requestHeaderSize]byte // the rest of a message is cut off by the kernel, and not needed
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(int(q.workers.Fd()), buf[:], oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return ids
		}
		if oobn > 0 {
			if fds, err := parseRights(oob[:oobn]); err == nil {
				closeAll(fds)
			}
		}
		if n == len(buf) {
			ids = append(ids, binary.LittleEndian.Uint64(buf[8:]))
		}
	}
}

// Pending is the number of bytes that no worker has received yet.
func (q *Queue) Pending() int {
	n, err := unix.IoctlGetInt(int(q.workers.Fd()), unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return n
}

// CloseWrite is the drain signal: workers receive what is left, then EOF.
func (q *Queue) CloseWrite() error { return unix.Shutdown(q.fd, unix.SHUT_WR) }

// Close closes both ends.
func (q *Queue) Close() error { return errors.Join(q.engine.Close(), q.workers.Close()) }
