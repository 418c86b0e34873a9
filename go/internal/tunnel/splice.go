package tunnel

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// pipeSize is asked for the pipes, in bytes; the kernel may give less.
const pipeSize = 256 << 10

// keptPipes is how many pipes are kept for the next transfer.
const keptPipes = 16

// pipe is what splice(2) needs between two sockets. One is taken only while
// bytes come faster than a buffer takes them: a connection on which little
// happens, as on most WebSockets, holds none.
type pipe struct{ r, w int }

var pipes = make(chan *pipe, keptPipes)

func takePipe() (*pipe, error) {
	select {
	case p := <-pipes:
		return p, nil
	default:
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	// With less it works, too.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	return &pipe{fds[0], fds[1]}, nil
}

// keep is for pipes that are empty.
func (p *pipe) keep() {
	select {
	case pipes <- p:
	default:
		p.close()
	}
}

func (p *pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}

// bulk moves bytes without copying them, until there are no more for the
// moment. Not failed: run goes on.
func (p *pump) bulk() (failed bool, how end) {
	var err error
	if p.pipe, err = takePipe(); err != nil {
		return false, 0 // no descriptors left: it goes by copying
	}
	defer func() {
		if p.piped == 0 {
			p.pipe.keep()
		} else {
			p.pipe.close()
		}
		p.pipe, p.piped = nil, 0
	}()
	for {
		err := p.from.raw.Read(p.spliceIn)
		switch {
		case err != nil:
			return true, sourceFailed
		case p.errno == syscall.EINVAL || p.errno == syscall.ENOSYS || p.errno == syscall.EPERM:
			p.unpiped = true
			return false, 0
		case p.errno == syscall.EAGAIN:
			return false, 0
		case p.errno != 0:
			return true, sourceFailed
		case p.piped == 0:
			return true, sourceEnded
		}
		for p.piped > 0 {
			if err := p.to.raw.Write(p.spliceOut); err != nil || p.errno != 0 {
				return true, targetFailed
			}
		}
	}
}

// trySpliceIn does not wait: when nothing is there, the buffer waits for it.
func (p *pump) trySpliceIn(fd uintptr) bool {
	n, errno := splice(int(fd), p.pipe.w)
	p.piped, p.errno = n, errno
	return true
}

func (p *pump) trySpliceOut(fd uintptr) bool {
	n, errno := splice(p.pipe.r, int(fd))
	if errno == syscall.EAGAIN {
		return false
	}
	p.piped, p.errno = p.piped-n, errno
	return true
}

func splice(from, to int) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.Syscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, pipeSize, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}
