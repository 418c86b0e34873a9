package httpd

import (
	"io"
	"net/http"
	"sync"
	"syscall"
	"unsafe"
)

// gatherMin is the size from which a body goes out beside its head instead of
// being copied behind it, in bytes: what is larger does not fit into the write
// buffer with the head, and would take two writes, and two packets.
const gatherMin = writeBuffer - 1<<10

// gatherer sends the head and the body of one response in one write.
type gatherer struct {
	conn  *Conn
	head  []byte  // written by the server, not yet sent
	body  []byte  // nil: nothing is gathered
	owned *buffer // to be given back when body has been sent; nil if body is shared
}

// buffer is the memory of a response body.
type buffer struct{ bytes []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// gather prepares a response for being sent in one piece.
func (x *Exchange) gather() {
	response := &x.Ctx.Response
	if response.IsBodyStream() || string(x.Method) == http.MethodHead {
		return
	}
	body := response.Body()
	if len(body) < gatherMin {
		return
	}
	g := &x.Conn.gatherer
	spare := buffers.Get().(*buffer)
	own := response.SwapBody(spare.bytes[:0])
	if unsafe.SliceData(own) == unsafe.SliceData(body) {
		spare.bytes, g.owned = own, spare
	} else { // the body was never the response's
		response.SwapBody(own)
		buffers.Put(spare)
	}
	g.conn, g.body = x.Conn, body
	response.ImmediateHeaderFlush = true
	response.SetBodyStream(g, len(body))
}

// WriteTo is called when the server has flushed the head.
func (g *gatherer) WriteTo(io.Writer) (int64, error) {
	head, body := g.head, g.body
	g.head, g.body = nil, nil
	if err := g.conn.extendWrite(); err != nil {
		return 0, err
	}
	return g.conn.writeBoth(head, body)
}

// Read is not used: the server prefers WriteTo.
func (g *gatherer) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

// Close is called when the response has been sent, or cannot be.
func (g *gatherer) Close() error {
	g.body = nil
	if g.owned != nil {
		buffers.Put(g.owned)
		g.owned = nil
	}
	if head := g.head; head != nil { // the server has not asked for the body
		g.head = nil
		_, err := g.conn.Write(head)
		return err
	}
	return nil
}

// writeBoth sends head and body and returns how much of the body was sent. The
// write deadline has been extended.
func (c *Conn) writeBoth(head, body []byte) (int64, error) {
	n, err := c.raw.writeBoth(head, body[:min(len(body), rawIOMax)])
	if err != nil {
		return int64(max(0, n-len(head))), err
	}
	if n < len(head) {
		if _, err := c.Write(head[n:]); err != nil {
			return 0, err
		}
		n = len(head)
	}
	sent := n - len(head)
	if sent == len(body) {
		return int64(sent), nil
	}
	rest, err := c.Write(body[sent:])
	return int64(sent + rest), err
}

// writeBoth writes as much of head and body as the socket takes at once.
func (r *rawIO) writeBoth(head, body []byte) (int, error) {
	r.vector[0].Base, r.vector[1].Base = unsafe.SliceData(head), unsafe.SliceData(body)
	r.vector[0].SetLen(len(head))
	r.vector[1].SetLen(len(body))
	r.out.n, r.out.errno = 0, 0
	err := r.conn.Write(r.writeVector)
	r.vector[0].Base, r.vector[1].Base = nil, nil
	if err == nil && r.out.errno != 0 {
		err = r.out.errno
	}
	return r.out.n, err
}

func (r *rawIO) tryVector(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&r.vector[0])), 2)
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		r.out.n, r.out.errno = max(0, int(n)), errno
		return true
	}
}
