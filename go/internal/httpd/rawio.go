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
	message   message

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
// has, and the kernel says that no more has come, there is nothing to look for:
// finding nothing would cost a system call. The poller tells of what comes later,
// but only of that; the end of the stream that came with the last bytes counts
// as more.
func (r *rawIO) tryRead(fd uintptr) bool {
	if r.answer == nil {
		return r.in.try(syscall.SYS_READ, fd)
	}
	for {
		more, ready := r.message.receive(&r.in, fd)
		if !ready {
			return false
		}
		if r.in.errno != 0 || r.in.n == 0 {
			return true
		}
		var done bool
		if done, r.answerErr = r.answer(r.in.buf[:r.in.n]); !done {
			return true
		}
		if !more {
			return false
		}
	}
}

// message is what recvmsg(2) needs to tell, besides what it has read, whether
// more is there.
type message struct {
	header  syscall.Msghdr
	vector  syscall.Iovec
	control [64]byte
}

// Linux's option TCP_INQ (4.18) has every receipt come with the number of bytes
// that are left, 1 at the end of the stream.
const tcpINQ = 36

// askForMore is called once per socket. One that does not know the option gives
// no number, and counts as having more each time.
func askForMore(conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpINQ, 1)
	})
}

// receive reads once; not ready: there is nothing.
func (m *message) receive(t *transfer, fd uintptr) (more, ready bool) {
	m.vector.Base = &t.buf[0]
	m.vector.SetLen(len(t.buf))
	m.header.Iov, m.header.Iovlen = &m.vector, 1
	m.header.Control = &m.control[0]
	defer func() { m.vector.Base = nil }()
	for {
		m.header.SetControllen(len(m.control))
		n, _, errno := syscall.RawSyscall(syscall.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&m.header)), 0)
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false, false
		}
		t.n, t.errno = int(n), errno
		return errno != 0 || m.left() != 0, true
	}
}

// left is the number that came along; 1 if none did.
func (m *message) left() int32 {
	if m.header.Controllen < syscall.SizeofCmsghdr+4 {
		return 1
	}
	c := (*syscall.Cmsghdr)(unsafe.Pointer(&m.control[0]))
	if c.Level != syscall.IPPROTO_TCP || c.Type != tcpINQ {
		return 1
	}
	return *(*int32)(unsafe.Pointer(&m.control[syscall.SizeofCmsghdr]))
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
