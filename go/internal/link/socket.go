package link

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxPassedFDs is how many descriptors one message may carry: the kernel's own
// limit (SCM_MAX_FD).
const maxPassedFDs = 253

// socketPair makes a connected pair of Unix sockets. Both ends close on exec;
// the first is non-blocking, as the engine needs it, the second blocks, as
// Ruby expects it.
func socketPair(kind int) (engine, peer *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("creating a socket pair: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, fmt.Errorf("making a socket non-blocking: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "engine"), os.NewFile(uintptr(fds[1]), "peer"), nil
}

// receiver reads from a non-blocking socket with recvmsg, so that descriptors
// can come along, without allocating.
type receiver struct {
	conn  syscall.RawConn
	hdr   unix.Msghdr
	iov   unix.Iovec
	oob   []byte
	once  func(fd uintptr) bool
	n     int
	errno syscall.Errno
}

func newReceiver(file *os.File, maxFDs int) (*receiver, error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &receiver{conn: conn, oob: make([]byte, unix.CmsgSpace(4*maxFDs))}
	r.once = r.recvmsg
	return r, nil
}

func (r *receiver) recvmsg(fd uintptr) bool {
	for {
		r.hdr = unix.Msghdr{Iov: &r.iov, Iovlen: 1, Control: &r.oob[0], Controllen: uint64(len(r.oob))}
		n, _, errno := syscall.RawSyscall(syscall.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.hdr)), unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		r.n, r.errno = int(n), errno
		return true
	}
}

// receive waits for bytes and returns how many came and the descriptors with
// them. io.EOF when the other side has closed.
func (r *receiver) receive(p []byte) (n int, fds []int, err error) {
	r.iov.Base = &p[0]
	r.iov.SetLen(len(p))
	err = r.conn.Read(r.once)
	r.iov.Base = nil
	runtime.KeepAlive(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, nil, err
	}
	if err != nil {
		// Somebody has closed it on this side. What the library says then is no os.ErrClosed.
		return 0, nil, os.ErrClosed
	}
	if r.errno != 0 {
		if r.errno == syscall.ECONNRESET {
			return 0, nil, io.EOF
		}
		return 0, nil, r.errno
	}
	if r.hdr.Controllen > 0 {
		fds, err = parseRights(r.oob[:r.hdr.Controllen])
		if err != nil {
			return 0, nil, err
		}
	}
	if r.hdr.Flags&unix.MSG_CTRUNC != 0 {
		closeAll(fds)
		return 0, nil, errors.New("not all descriptors of a message could be received: there are more than it may carry, or the process can have no more (ulimit -n)")
	}
	if r.hdr.Flags&unix.MSG_TRUNC != 0 {
		closeAll(fds)
		return 0, nil, errors.New("message is longer than the protocol allows")
	}
	if r.n == 0 {
		closeAll(fds)
		return 0, nil, io.EOF
	}
	return r.n, fds, nil
}

func parseRights(oob []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control data of a message: %w", err)
	}
	var fds []int
	for i := range messages {
		if messages[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			closeAll(fds)
			return nil, fmt.Errorf("descriptors of a message: %w", err)
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// trySend sends one message without waiting. rights is control data made by
// unix.UnixRights, or nil.
func trySend(fd int, message, rights []byte) syscall.Errno {
	iov := unix.Iovec{Base: &message[0]}
	iov.SetLen(len(message))
	hdr := unix.Msghdr{Iov: &iov, Iovlen: 1}
	if len(rights) > 0 {
		hdr.Control = &rights[0]
		hdr.SetControllen(len(rights))
	}
	for {
		_, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&hdr)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if errno != syscall.EINTR {
			return errno
		}
	}
}
