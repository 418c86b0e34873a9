package httpd

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Limits bound the connections of a server. Those above are answered with 503
// as soon as they are accepted, and closed.
type Limits struct {
	Connections int // 0: as many as Descriptors allow
	PerAddress  int // 0: any number. Does not count for Unix sockets
	// Descriptors is how many may be used for connections; 0: any number. Each
	// takes one, and those that the app has taken over another, of which Hijacked
	// is the number.
	Descriptors int
	Hijacked    func() int
}

// door lets connections in, and knows how many are.
type door struct {
	limits  Limits
	log     *slog.Logger
	open    atomic.Int64
	refused atomic.Uint64
	parting atomic.Int64 // connections that have been refused and not closed yet

	mu       sync.Mutex
	visitors map[netip.Prefix]*visitor // only with a limit for each address
	spare    *os.File                  // see exhausted
	loggedAt time.Time
	unlogged uint64
}

// visitor is an address with connections.
type visitor struct {
	address netip.Prefix
	open    int
}

const (
	// mostParting is how many refused connections may wait for the client to
	// read why. Others are closed at once, which may destroy the answer.
	mostParting = 64
	// partingTime is how long one waits.
	partingTime = time.Second
	// refusalsLogged is the time between two lines about refusals.
	refusalsLogged = 10 * time.Second
	// retryAfter is what is told to clients, in seconds.
	retryAfter = 10
)

// DescriptorsBeside is how many descriptors the door itself may need.
const DescriptorsBeside = mostParting + 1

var (
	refusalFull    = refusal("The server has as many connections as it can have at a time.\n")
	refusalAddress = refusal("There are too many connections from your address.\n")
)

func refusal(text string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"+
		"Retry-After: %d\r\nConnection: close\r\n\r\n%s", len(text), retryAfter, text)
}

// limit is how many connections there may be now; 0: any number.
func (d *door) limit() int {
	limit := d.limits.Connections
	if d.limits.Descriptors > 0 {
		left := d.limits.Descriptors
		if d.limits.Hijacked != nil {
			left -= d.limits.Hijacked()
		}
		// One at least: a limit that lets nobody in would not even show the status.
		if left = max(left, 1); limit == 0 || left < limit {
			limit = left
		}
	}
	return limit
}

// enter lets a connection in, or refuses it. The visitor is nil where nobody
// counts them.
func (d *door) enter(c net.Conn) (*visitor, bool) {
	if limit := d.limit(); limit > 0 && d.open.Load() >= int64(limit) {
		d.refuse(c, refusalFull, "max_connections", limit)
		return nil, false
	}
	v, ok := d.visit(c)
	if !ok {
		d.refuse(c, refusalAddress, "max_connections_per_ip", d.limits.PerAddress, "address", c.RemoteAddr())
		return nil, false
	}
	d.open.Add(1)
	return v, true
}

func (d *door) visit(c net.Conn) (*visitor, bool) {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || d.limits.PerAddress == 0 {
		return nil, true
	}
	address := addressOf(tcp)
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.visitors[address]
	if v == nil {
		v = &visitor{address: address}
		if d.visitors == nil {
			d.visitors = map[netip.Prefix]*visitor{}
		}
		d.visitors[address] = v
	}
	if v.open >= d.limits.PerAddress {
		return nil, false
	}
	v.open++
	return v, true
}

// addressOf is what counts as one address: in IPv6 whoever has one has 2^64.
func addressOf(a *net.TCPAddr) netip.Prefix {
	address := a.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if address.Is6() {
		bits = 64
	}
	prefix, err := address.Prefix(bits)
	if err != nil { // no address: it is counted with all that have none
		return netip.Prefix{}
	}
	return prefix
}

// leave is called once for each connection that was let in, when it is closed.
func (d *door) leave(v *visitor) {
	d.open.Add(-1)
	if v == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if v.open--; v.open == 0 {
		delete(d.visitors, v.address)
	}
}

// refuse answers without having read anything, and does not wait: a socket that
// has just been accepted takes that much.
func (d *door) refuse(c net.Conn, answer []byte, limit string, value int, more ...any) {
	d.refused.Add(1)
	d.note("connections are refused", append([]any{"limit", limit, "value", value, "open", d.open.Load()}, more...)...)
	// What fails here has failed for a client that is refused anyway.
	_ = c.SetDeadline(time.Now().Add(partingTime))
	_, _ = c.Write(answer)
	if d.parting.Add(1) > mostParting {
		d.parting.Add(-1)
		c.Close()
		return
	}
	go func() {
		defer d.parting.Add(-1)
		part(c)
	}()
}

// part closes a connection that has been refused. Closing it with bytes unread
// would take back the answer.
func part(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, c, 1<<20)
	c.Close()
}

// note logs at most one line in a while; it tells how many were left out.
func (d *door) note(message string, fields ...any) {
	d.mu.Lock()
	d.unlogged++
	since := d.unlogged
	now := time.Now()
	if now.Sub(d.loggedAt) < refusalsLogged {
		d.mu.Unlock()
		return
	}
	d.loggedAt, d.unlogged = now, 0
	d.mu.Unlock()
	d.log.Warn(message, append(fields, "times", since)...)
}

// The pauses after an attempt to accept that failed for want of something.
const (
	shortestPause = 10 * time.Millisecond
	longestPause  = time.Second
)

// acceptor is one listener's way to the door.
type acceptor struct {
	*door
	pause time.Duration
}

// failed deals with an error of accept(2). True: it is to be tried again. When
// the process has no descriptor left, the connection would stay where it is, and
// the listener ready: a descriptor is kept for letting it in and refusing it.
func (a *acceptor) failed(err error) bool {
	switch {
	case errors.Is(err, syscall.EMFILE):
		if a.giveUpSpare() {
			return true
		}
	case errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
	default:
		return false
	}
	a.note("connections cannot be accepted at the moment", "error", err)
	a.pause = min(max(2*a.pause, shortestPause), longestPause)
	time.Sleep(a.pause)
	return true
}

// accepted says whether a connection may stay, as far as descriptors are concerned.
func (a *acceptor) accepted(c net.Conn) bool {
	a.pause = 0
	if a.keepSpare() {
		return true
	}
	a.refused.Add(1)
	a.note("connections are refused: the process has no file descriptors left; raise its limit (ulimit -n, LimitNOFILE)", "open", a.open.Load())
	_ = c.SetDeadline(time.Now().Add(shortestPause))
	_, _ = c.Write(refusalFull)
	part(c)
	a.keepSpare()
	return false
}

func (d *door) giveUpSpare() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spare == nil {
		return false
	}
	d.spare.Close()
	d.spare = nil
	return true
}

// keepSpare says whether there is a spare descriptor.
func (d *door) keepSpare() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spare == nil {
		// Whatever is the reason: there is none.
		d.spare, _ = os.Open(os.DevNull)
	}
	return d.spare != nil
}

// shut gives the spare descriptor back.
func (d *door) shut() { d.giveUpSpare() }

// Connections is how many a server has.
type Connections struct {
	Open    int
	Limit   int // 0: none
	Refused uint64
}

// Limit bounds the connections; it is called before Serve.
func (s *Server) Limit(l Limits) { s.door.limits = l }

// Connections is how many there are.
func (s *Server) Connections() Connections {
	return Connections{Open: int(s.door.open.Load()), Limit: s.door.limit(), Refused: s.door.refused.Load()}
}
