package httpd

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// headGrace is how long a client may take to complete the head of a request
// that it had begun to send when the server was told to shut down.
const headGrace = 2 * time.Second

// connections is a listener that knows the connections it has accepted, so
// that those without a whole request do not hold up a shutdown.
type connections struct {
	net.Listener
	shortcut  Shortcut // nil: there is none
	exchanges *sync.Pool
	acceptor

	mu      sync.Mutex
	inHTTP  map[*Conn]struct{}
	closing time.Time   // read deadline of connections without a request; zero before shutdown
	ending  atomic.Bool // closing is set
}

// Accept wraps the next connection that is let in.
func (l *connections) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			if l.failed(err) {
				continue
			}
			l.shut()
			return nil, err
		}
		if !l.accepted(c) {
			continue
		}
		visitor, ok := l.enter(c)
		if !ok {
			continue
		}
		conn, err := newConn(c, l)
		if err != nil { // this one is of no use, the next may be
			l.leave(visitor)
			c.Close()
			continue
		}
		conn.visitor = visitor
		conn.inside.Store(true)
		l.mu.Lock()
		l.inHTTP[conn] = struct{}{}
		l.mu.Unlock()
		return conn, nil
	}
}

// shutdown bounds the time of all connections on which no request is being
// answered.
func (l *connections) shutdown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = time.Now().Add(headGrace)
	l.ending.Store(true)
	for c := range l.inHTTP {
		if !c.serving.Load() {
			// A connection that is closed at this moment needs no deadline.
			_ = c.Conn.SetReadDeadline(l.closing)
		}
	}
}

func (l *connections) deadline(t time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closing.IsZero() && (t.IsZero() || t.After(l.closing)) {
		return l.closing
	}
	return t
}

// deadlineTolerance is how much later than asked for a connection may be ended
// for the time that a request takes to come: setting a deadline costs more than
// a small read.
const deadlineTolerance = 20 * time.Second

// SetReadDeadline is called before each request; during a shutdown no
// deadline is later than the shutdown's.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if later := c.idleDeadline.Sub(t); later > -deadlineSlack && later < deadlineTolerance && !t.IsZero() && !c.owner.ending.Load() {
		return nil
	}
	c.idleDeadline = t
	return c.Conn.SetReadDeadline(c.owner.deadline(t))
}

// Close closes the connection. The server closes idle ones when it shuts down,
// and takes one on which a shortcut answers for idle: that ends after its answer.
func (c *Conn) Close() error {
	if c.cutting.Load() {
		c.closeAfter.Store(true)
		if c.cutting.Load() {
			return nil
		}
	}
	c.owner.mu.Lock()
	delete(c.owner.inHTTP, c)
	abandoned := c.abandoned
	c.abandoned = nil
	c.owner.mu.Unlock()
	if abandoned != nil {
		abandoned()
	}
	if c.inside.CompareAndSwap(true, false) {
		defer c.owner.leave(c.visitor)
	}
	if c.lent.Load() {
		// It ends for the client now, whoever else has the socket. A connection
		// that the client has ended already cannot be shut down.
		_ = c.raw.conn.Control(func(fd uintptr) { _ = syscall.Shutdown(int(fd), syscall.SHUT_RDWR) })
	}
	return c.Conn.Close()
}
