package tunnel

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// bufferSize is how much is read at once before anybody knows that there is
// more to come, in bytes.
const bufferSize = 16 << 10

// buffers are taken when bytes have arrived and given back when they have been
// passed on, so that a quiet tunnel holds none.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// side is one socket of a tunnel. Without raw its bytes are not what goes over
// the socket, but encrypted.
type side struct {
	io.ReadWriter
	raw syscall.RawConn
}

// end is how a pump has ended.
type end uint8

const (
	sourceEnded end = iota
	sourceFailed
	targetFailed
	sourceQuiet // there is nothing for the moment, and the pump does not wait
)

var errQuiet = errors.New("nothing to read for the moment")

// pump copies in one direction, as fast as the slower of the two sides.
type pump struct {
	from, to side
	patient  *atomic.Bool // whether it waits for bytes

	buffer *[bufferSize]byte // nil: nothing has been read
	out    []byte
	n      int
	errno  syscall.Errno

	pipe                                     *pipe
	piped                                    int  // bytes in it
	unpiped                                  bool // the kernel does not splice these
	readOnce, writeOnce, spliceIn, spliceOut func(fd uintptr) bool
}

// pumps are those that nobody uses: a quiet tunnel has none.
var pumps = sync.Pool{New: func() any {
	p := new(pump)
	p.readOnce, p.writeOnce, p.spliceIn, p.spliceOut = p.tryRead, p.tryWrite, p.trySpliceIn, p.trySpliceOut
	return p
}}

func takePump(from, to side, patient *atomic.Bool) *pump {
	p := pumps.Get().(*pump)
	p.from, p.to, p.patient, p.unpiped = from, to, patient, from.raw == nil || to.raw == nil
	return p
}

// giveBack is for a pump that has ended.
func (p *pump) giveBack() {
	p.from, p.to, p.patient = side{}, side{}, nil
	pumps.Put(p)
}

// run copies until there is no more, or no way.
func (p *pump) run() end {
	for {
		n, err := p.read()
		if n > 0 {
			_, werr := p.write(p.buffer[:n])
			p.release()
			if werr != nil {
				return targetFailed
			}
			if n == bufferSize && !p.unpiped {
				if failed, how := p.bulk(); failed {
					return how
				}
			}
		}
		if err != nil {
			return endOf(err)
		}
	}
}

func endOf(err error) end {
	switch {
	case errors.Is(err, io.EOF):
		return sourceEnded
	case errors.Is(err, errQuiet):
		return sourceQuiet
	default:
		return sourceFailed
	}
}

// discard reads what nobody wants any more: a source that cannot get rid of its
// bytes would not read the end of the other direction.
func (p *pump) discard() end {
	for {
		_, err := p.read()
		p.release()
		if err != nil {
			return endOf(err)
		}
	}
}

func (p *pump) release() {
	if p.buffer != nil {
		buffers.Put(p.buffer)
		p.buffer = nil
	}
}

// read gives what there is, in the buffer, which is to be released. It waits
// for bytes if the pump is patient.
func (p *pump) read() (int, error) {
	if p.from.raw == nil {
		p.buffer = buffers.Get().(*[bufferSize]byte)
		return p.from.Read(p.buffer[:])
	}
	err := p.from.raw.Read(p.readOnce)
	switch {
	case err != nil:
		return 0, err
	case p.errno == syscall.EAGAIN:
		return 0, errQuiet
	case p.errno != 0:
		return 0, p.errno
	case p.n == 0:
		return 0, io.EOF
	}
	return p.n, nil
}

func (p *pump) tryRead(fd uintptr) bool {
	if p.buffer == nil {
		p.buffer = buffers.Get().(*[bufferSize]byte)
	}
	p.n, p.errno = read(fd, p.buffer)
	if p.errno != syscall.EAGAIN {
		return true
	}
	p.release()
	return !p.patient.Load()
}

// read reads without telling the scheduler: the call does not block.
func read(fd uintptr, into *[bufferSize]byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(into)), bufferSize)
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}

// write passes all of b on.
func (p *pump) write(b []byte) (int, error) {
	if p.to.raw == nil && len(b) > 0 {
		return p.to.Write(b)
	}
	written := 0
	for written < len(b) {
		p.out = b[written:]
		err := p.to.raw.Write(p.writeOnce)
		p.out = nil
		if err != nil {
			return written, err
		}
		if p.errno != 0 {
			return written, p.errno
		}
		written += p.n
	}
	return written, nil
}

func (p *pump) tryWrite(fd uintptr) bool {
	p.n, p.errno = send(fd, p.out)
	return p.errno != syscall.EAGAIN
}

// send sends without the signal that comes with EPIPE: the process may not be
// Go's own. b is not empty.
func send(fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}

// closeWrite tells a client that nothing more comes.
func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		// A client that has gone need not be told.
		_ = half.CloseWrite()
	}
}
