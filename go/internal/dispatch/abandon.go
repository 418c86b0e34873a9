package dispatch

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"passenger/go/internal/link"
)

const (
	// patience is how long a request has waited before its client is looked at.
	// Where there is no queue to speak of, that is never.
	patience = 20 * time.Millisecond
	// sweepInterval is the distance of looks at all that waits.
	sweepInterval = 20 * time.Millisecond
	// sweepSize is how many of a line are looked at each time, at half a
	// microsecond each; long lines take several rounds. Each request is looked at
	// once more when it is about to be sent.
	sweepSize = 1024
	// pollSize is how many descriptors one system call gets. It must not be more
	// than the process may have open.
	pollSize = 128
)

// hungUp are the signs of a client that will read no response. One that has
// only ended its sending side counts, too: hardly any client does that and
// then waits, while all that hang up do.
const hungUp = unix.POLLRDHUP | unix.POLLHUP | unix.POLLERR | unix.POLLNVAL

// suspect is a call whose client is to be looked at.
type suspect struct {
	call   *Call
	ticket uint64
	client syscall.Conn
	gone   bool
}

// watch has sweep called soon; d.mu is held. There is a goroutine for it only
// while it runs.
func (d *Dispatcher) watch() {
	if !d.watching {
		d.watching = true
		d.sweeper.Reset(sweepInterval)
	}
}

// sweep answers requests that need not be served any more, and goes on doing
// so while any request waits.
func (d *Dispatcher) sweep() {
	d.mu.Lock()
	d.collect(link.Now())
	d.mu.Unlock()

	d.look(d.suspects)

	d.mu.Lock()
	defer d.mu.Unlock()
	d.dismiss()
	clear(d.suspects)
	d.suspects = d.suspects[:0]
	// Requests wait without anybody having to answer first if the kernel had no
	// room for one.
	for _, s := range d.seats {
		d.pumpTo(s)
	}
	d.pump()
	if d.anyWaits() {
		d.sweeper.Reset(sweepInterval)
	} else {
		d.watching = false
	}
}

// collect gathers the calls to look at; d.mu is held.
func (d *Dispatcher) collect(now int64) {
	d.markTaken()
	for _, c := range d.calls {
		if c != nil && c.state == callSent && !c.taken {
			d.suspect(c, now)
		}
	}
	d.collectFrom(&d.line, now)
	for _, s := range d.seats {
		d.collectFrom(&s.line, now)
	}
}

func (d *Dispatcher) collectFrom(l *line, now int64) {
	// The oldest are in front, but for a few that have been put before them.
	for l.first != nil && d.overdue(now-l.first.submitted) {
		c := l.first
		d.leave(c)
		d.spent(c)
	}
	c := l.next
	if c == nil {
		c = l.first
	}
	for n := 0; c != nil && n < sweepSize; n++ {
		d.suspect(c, now)
		c = c.next
	}
	l.next = c
}

func (d *Dispatcher) suspect(c *Call, now int64) {
	waited := now - c.submitted
	if d.overdue(waited) || c.Client != nil && waited >= int64(patience) {
		d.suspects = append(d.suspects, suspect{call: c, ticket: c.ticket, client: c.Client})
	}
}

// markTaken marks the calls that the scoreboards know of: they wait no more.
// d.mu is held.
func (d *Dispatcher) markTaken() {
	for _, g := range d.generations {
		for i := range g.board.Slots() {
			if c := d.call(g.board.RequestID(i)); c != nil {
				c.taken = true
			}
		}
	}
}

// look finds out which clients have gone. No lock is held: a call may have been
// answered meanwhile, and its connection closed. So the result is worth
// something only as long as the call has the same ticket.
func (d *Dispatcher) look(suspects []suspect) {
	d.glance.at(len(suspects), func(i int) syscall.Conn { return suspects[i].client }, func(i int, signs int16) {
		suspects[i].gone = signs&hungUp != 0
	})
}

// glance looks at many clients at once. One goroutine uses it at a time.
type glance struct {
	probe  *probe
	polled []unix.PollFd
}

func newGlance() glance { return glance{probe: newProbe()} }

// at notes the signs that n clients give, of those that give any. POLLNVAL
// stands for a connection that has been closed on this side.
func (g *glance) at(n int, client func(i int) syscall.Conn, note func(i int, signs int16)) {
	for start := 0; start < n; start += pollSize {
		end := min(start+pollSize, n)
		g.polled = g.polled[:0]
		for i := start; i < end; i++ {
			fd := int32(-1) // poll passes over it
			if c := client(i); c != nil {
				var err error
				if fd, err = g.probe.descriptor(c); err != nil {
					note(i, unix.POLLNVAL)
					fd = -1
				}
			}
			g.polled = append(g.polled, unix.PollFd{Fd: fd, Events: unix.POLLRDHUP})
		}
		if !poll(g.polled) {
			continue
		}
		for i := start; i < end; i++ {
			if signs := g.polled[i-start].Revents; signs != 0 {
				note(i, signs)
			}
		}
	}
}

// poll looks without waiting; false: the kernel has not looked.
func poll(fds []unix.PollFd) bool {
	for {
		_, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return err == nil
		}
	}
}

// dismiss answers the suspects that are to be answered. Those in a queue are
// taken out with all that lies there, and those that stay are sent again. d.mu is held.
func (d *Dispatcher) dismiss() {
	now := link.Now()
	marked := false
	for i := range d.suspects {
		s := &d.suspects[i]
		c := s.call
		if c.ticket != s.ticket {
			continue
		}
		switch {
		case c.state == callWaiting:
			c.gone = s.gone
			if s.gone || d.overdue(now-c.submitted) {
				d.leave(c)
				d.spent(c)
			}
		case c.state == callSent && (s.gone || d.overdue(now-c.submitted)):
			if !marked {
				d.markTaken()
				marked = true
			}
			if !c.taken {
				c.gone = s.gone
				d.takeBack(c.generation, c.seat) // with the other suspects there; requeue looks at each
			}
		}
	}
	d.requeue()
}

// anyWaits reports whether any request has not been taken by a worker; d.mu is held.
func (d *Dispatcher) anyWaits() bool {
	if d.waiting > 0 {
		return true
	}
	for _, c := range d.calls {
		if c != nil && c.state == callSent && !c.taken {
			return true
		}
	}
	return false
}

// probe looks at one client at a time, without allocating.
type probe struct {
	fds  [1]unix.PollFd
	look func(fd uintptr)
	note func(fd uintptr)
}

func newProbe() *probe {
	p := new(probe)
	p.look = func(fd uintptr) {
		p.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLRDHUP}
		if !poll(p.fds[:]) {
			p.fds[0].Revents = 0
		}
	}
	p.note = func(fd uintptr) { p.fds[0].Fd = int32(fd) }
	return p
}

// descriptor is the number of the client's socket.
func (p *probe) descriptor(client syscall.Conn) (int32, error) {
	raw, err := client.SyscallConn()
	if err == nil {
		err = raw.Control(p.note)
	}
	return p.fds[0].Fd, err
}

func (p *probe) gone(client syscall.Conn) bool {
	raw, err := client.SyscallConn()
	if err != nil {
		return true
	}
	p.fds[0].Revents = 0
	if err := raw.Control(p.look); err != nil {
		return true
	}
	return p.fds[0].Revents&hungUp != 0
}
