package httpd

import (
	"errors"
	"net"
	"time"
)

// ErrNoClient is the end of an attempt to take over the connection of a request
// that no client waits for (Detached).
var ErrNoClient = errors.New("the request has no client whose connection could be taken over")

// errNothingRead comes after what has been read of a connection.
var errNothingRead = errors.New("nothing more has been read")

// TakeOver ends HTTP on the connection. When the handler has returned, use gets
// it, in a goroutine of its own, with what has been read behind the request, and
// closes it. Nothing is answered. Should the connection end before that,
// abandoned is called instead.
func (x *Exchange) TakeOver(use func(c *Conn, early []byte), abandoned func()) error {
	c := x.Conn
	if _, detached := c.Conn.(nobody); detached {
		abandoned()
		return ErrNoClient
	}
	c.owner.mu.Lock()
	c.abandoned = abandoned
	c.owner.mu.Unlock()
	x.Ctx.HijackSetNoResponse(true)
	x.Ctx.Hijack(func(reader net.Conn) {
		c.owner.mu.Lock()
		closed := c.abandoned == nil
		c.abandoned = nil
		delete(c.owner.inHTTP, c) // a shutdown has nothing to do with it any more
		c.owner.mu.Unlock()
		if closed {
			return
		}
		// A connection on which that fails says so when it is used.
		_ = c.SetDeadline(time.Time{})
		use(c, c.unread(reader))
	})
	return nil
}

// unread gives back what the server has read ahead.
func (c *Conn) unread(reader net.Conn) []byte {
	c.unreading = true
	defer func() { c.unreading = false }()
	var early, piece []byte
	for {
		if piece == nil {
			piece = make([]byte, 4<<10)
		}
		n, err := reader.Read(piece)
		early = append(early, piece[:n]...)
		if err != nil {
			return early
		}
	}
}

// Raw is the connection without its limits of time.
func (c *Conn) Raw() net.Conn { return c.Conn }
