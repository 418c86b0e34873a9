// Package httpd is the HTTP front of the engine: connections with their time
// limits, requests checked and taken apart, nothing that knows about Rack.
package httpd

import (
	"errors"
	"io"
	"math"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// Time limits of a connection. They bound the time without progress, not the
// time a transfer takes.
const (
	// headerTimeout is how long a client may take to send a request's headers.
	headerTimeout = 60 * time.Second
	// idleTimeout is how long a connection may wait for its next request.
	idleTimeout = 75 * time.Second
	// bodyStall is how long a client may send nothing of a body it announced.
	bodyStall = 60 * time.Second
	// writeStall is how long a client may take nothing of its response.
	writeStall = 60 * time.Second
)

// deadlineSlack is how far a deadline may be behind before it is set anew:
// setting one costs more than a small read.
const deadlineSlack = 5 * time.Second

// sendfilePiece is how much of a file goes out between two looks at the write
// deadline, in bytes.
const sendfilePiece = 4 << 20

// Conn is a client's connection.
type Conn struct {
	net.Conn
	raw   *rawIO
	owner *connections
	// inside is set until the door has been told that the connection is closed.
	inside  atomic.Bool
	visitor *visitor
	// serving is set while a request is being answered.
	serving atomic.Bool
	// lent is set when another process has, or has had, the socket.
	lent atomic.Bool

	remoteAddr, remotePort string
	localAddr, localPort   string

	gatherer gatherer

	// abandoned is called when the connection ends before it is taken over;
	// guarded by owner.mu.
	abandoned func()
	unreading bool // Read gives what has been read already, and nothing else

	// The server has been given the bytes of one request, `given` of them, and
	// nothing else; or nothing yet.
	clean bool
	given int
	// How many bytes the server has been given beyond the requests that it has
	// dealt with; settled says, while a request is answered, that there were none
	// when it began.
	ahead   int64
	settled bool
	// What a shortcut needs.
	shortcut   func(data []byte) (bool, error) // cut, or nil
	head       []byte
	dateText   []byte
	dateSecond int64
	cutting    atomic.Bool // a shortcut's response is being written
	closeAfter atomic.Bool // and the connection is to be closed then
	answered   bool        // a shortcut has answered before

	readingBody   bool
	framing       int64 // bytes of chunk framing that may still come; only while a chunked body is read
	writeDeadline time.Time
	readDeadline  time.Time // while a body is read
	idleDeadline  time.Time // else; zero if it is not known
}

func newConn(c net.Conn, owner *connections) (*Conn, error) {
	raw, err := newRawIO(c)
	if err != nil {
		return nil, err
	}
	conn := &Conn{Conn: c, raw: raw, owner: owner, clean: true, settled: true}
	if owner.shortcut != nil {
		conn.shortcut = conn.cut
		if err := askForMore(raw.conn); err != nil {
			return nil, err
		}
	}
	conn.remoteAddr, conn.remotePort = splitAddr(c.RemoteAddr())
	conn.localAddr, conn.localPort = splitAddr(c.LocalAddr())
	return conn, nil
}

// splitAddr renders an address for REMOTE_ADDR and the like. A Unix socket
// has no address; its peers are on this machine.
func splitAddr(a net.Addr) (host, port string) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return "127.0.0.1", "0"
	}
	return tcp.AddrPort().Addr().Unmap().String(), strconv.Itoa(tcp.Port)
}

// Read extends the deadline while a body is being read: a slow upload is
// fine, a stalled one is not.
func (c *Conn) Read(p []byte) (int, error) {
	if c.unreading {
		return 0, errNothingRead
	}
	if c.readingBody {
		if now := time.Now(); c.readDeadline.Sub(now) < bodyStall-deadlineSlack {
			c.readDeadline = now.Add(bodyStall)
			if err := c.Conn.SetReadDeadline(c.readDeadline); err != nil {
				return 0, err
			}
		}
	}
	if c.readingBody && c.framing < 0 {
		return 0, errFraming
	}
	c.raw.answer = nil
	if c.clean {
		c.clean, c.given = false, 0
		c.raw.answer = c.shortcut
	}
	n, err := c.raw.read(p)
	c.framing -= int64(n)
	c.given += n
	c.ahead += int64(n)
	// The server knows nothing of a shortcut's answers, and would complain to a
	// client that sends no first request.
	if c.answered && c.raw.answer != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.EOF
	}
	return n, err
}

// A chunked body may spend this much on its framing: some bytes for each byte
// of content, since chunks may be short, and a sum for extensions and trailers.
// Read looks at it when everything read before has been decoded.
const (
	framingPerByte = 8
	framingSum     = 16 << 10
)

var errFraming = errors.New("the chunked request body has more framing than content")

// beginBody and endBody bracket the time in which Read belongs to a body.
func (c *Conn) beginBody(chunked bool) {
	c.readingBody, c.readDeadline, c.idleDeadline = true, time.Time{}, time.Time{}
	c.framing = math.MaxInt64
	if chunked {
		c.framing = framingSum
	}
}

func (c *Conn) endBody() { c.readingBody = false }

// decoded credits the body with n bytes of content.
func (c *Conn) decoded(n int) {
	if c.framing < math.MaxInt64/2 {
		c.framing += int64(n) * framingPerByte
	}
}

func (c *Conn) extendWrite() error { return c.extendWriteAt(time.Now()) }

func (c *Conn) extendWriteAt(now time.Time) error {
	if c.writeDeadline.Sub(now) < writeStall-deadlineSlack {
		c.writeDeadline = now.Add(writeStall)
		return c.Conn.SetWriteDeadline(c.writeDeadline)
	}
	return nil
}

// Write sends p, giving the client time as long as it takes something.
func (c *Conn) Write(p []byte) (int, error) {
	// A full buffer is about to be used again; what is not full is flushed
	// because the body comes next, which takes it along.
	if c.gatherer.body != nil && len(p) < writeBuffer {
		c.gatherer.head = p
		return len(p), nil
	}
	written := 0
	for {
		if err := c.extendWrite(); err != nil {
			return written, err
		}
		piece := p[written:]
		if len(piece) > rawIOMax {
			piece = piece[:rawIOMax]
		}
		n, err := c.raw.write(piece)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// copyBuffer is the size of the pieces in which a stream is copied, in bytes.
const copyBuffer = 32 << 10

// ReadFrom sends what r gives: files by sendfile, everything else piece by
// piece as it comes.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if limited, ok := r.(*io.LimitedReader); ok {
		if file, ok := limited.R.(*os.File); ok {
			return c.sendFile(file, limited)
		}
	}
	buf := make([]byte, copyBuffer)
	var total int64
	for {
		n, err := r.Read(buf)
		if n > 0 {
			w, werr := c.Write(buf[:n])
			total += int64(w)
			if werr != nil {
				return total, werr
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func (c *Conn) sendFile(file *os.File, limited *io.LimitedReader) (int64, error) {
	to, ok := c.Conn.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{c}, limited)
	}
	var total int64
	for limited.N > 0 {
		if err := c.extendWrite(); err != nil {
			return total, err
		}
		piece := io.LimitedReader{R: file, N: min(limited.N, sendfilePiece)}
		n, err := to.ReadFrom(&piece)
		total += n
		limited.N -= n
		if err != nil {
			return total, err
		}
		if n == 0 {
			return total, nil // the file has become shorter
		}
	}
	return total, nil
}

// RemoteHost is the client's address, without port.
func (c *Conn) RemoteHost() string { return c.remoteAddr }

// RemotePort is the client's port.
func (c *Conn) RemotePort() string { return c.remotePort }

// Client is the socket for looking whether the client is still there, nil if
// there never was one. It is not lent to anybody that way.
func (c *Conn) Client() syscall.Conn {
	if _, ok := c.raw.conn.(nowhere); ok {
		return nil
	}
	return (*watched)(c)
}

type watched Conn

func (w *watched) SyscallConn() (syscall.RawConn, error) { return w.raw.conn, nil }

// SyscallConn gives access to the socket, for handing it to a worker. Another
// process may keep it then (the worker, a child that the app forks meanwhile):
// Close does not wait for that.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	c.lent.Store(true)
	return c.raw.conn, nil
}
