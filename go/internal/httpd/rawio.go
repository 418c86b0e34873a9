package httpd

import (
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// rawIOMax is the largest piece that rawIO moves in one system call, in bytes.
// It bounds the time for which the call keeps its processor from the scheduler.
const rawIOMax = 64 << 10

// rawIO reads and writes a socket without telling the scheduler about the
// system calls. They do not block, and a scheduler that takes the processor
// away in the middle of each, as it does with ordinary ones on a busy machine,
// costs more than it gains.
type rawIO struct {
	conn      syscall.RawConn
	readOnce  func(fd uintptr) bool
	writeOnce func(fd uintptr) bool
	in, out   transfer
	// answer, if not nil, is shown what has been read, and may deal with it; then
	// the next bytes are waited for.
	answer    func(data []byte) (done bool, err error)
	answerErr error

	vector      [2]syscall.Iovec
	writeVector func(fd uintptr) bool
}

type transfer struct {
	buf   []byte
	n     int
	errno syscall.Errno
}

func newRawIO(c net.Conn) (*rawIO, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil, os.ErrInvalid
	}
	conn, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &rawIO{conn: conn}
	r.readOnce = r.tryRead
	r.writeOnce = func(fd uintptr) bool { return r.out.try(syscall.SYS_WRITE, fd) }
	r.writeVector = r.tryVector
	return r, nil
}

// try makes the call; false: the socket is not ready.
func (t *transfer) try(call, fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(&t.buf[0])), uintptr(len(t.buf)))
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		t.n, t.errno = int(n), errno
		return true
	}
}

// tryRead reads until there is something that answer has not dealt with. When it
// has, it does not look whether more is there: the poller tells, and finding
// nothing would cost a system call.
func (r *rawIO) tryRead(fd uintptr) bool {
	for {
		if !r.in.try(syscall.SYS_READ, fd) {
			return false
		}
		if r.answer == nil || r.in.errno != 0 || r.in.n == 0 {
			return true
		}
		var done bool
		if done, r.answerErr = r.answer(r.in.buf[:r.in.n]); !done {
			return true
		}
		if r.in.n < len(r.in.buf) {
			return false // the socket had no more
		}
	}
}

func (r *rawIO) read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r.in.buf, r.answerErr = p, nil
	err := r.conn.Read(r.readOnce)
	r.in.buf = nil
	runtime.KeepAlive(p)
	switch {
	case err != nil:
		return 0, err
	case r.answerErr != nil:
		return 0, r.answerErr
	case r.in.errno != 0:
		return 0, os.NewSyscallError("read", r.in.errno)
	case r.in.n == 0:
		return 0, io.EOF
	}
	return r.in.n, nil
}

func (r *rawIO) write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		r.out.buf = p[written:]
		err := r.conn.Write(r.writeOnce)
		r.out.buf = nil
		if err != nil {
			return written, err
		}
		if r.out.errno != 0 {
			return written, os.NewSyscallError("write", r.out.errno)
		}
		written += r.out.n
	}
	runtime.KeepAlive(p)
	return written, nil
}
