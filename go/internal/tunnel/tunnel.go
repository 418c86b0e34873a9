// Package tunnel joins clients to the sockets of apps that have taken their
// connections over: what one side sends, the other receives, and the end of each
// direction is passed on by itself. A slow side holds up the other one.
package tunnel

import (
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// linger is how long a client may take to end its side when the app has ended
// both of its own, and to take the rest when the tunnel is closed. Closing at
// once would destroy what is still on its way to a client that is sending.
const linger = 2 * time.Second

// Ends are what a tunnel joins. It owns them.
type Ends struct {
	Client net.Conn
	Close  func() error // closes the client's connection
	App    *os.File     // non-blocking
	// Head is sent to the client first, Early to the app: the client has sent
	// it already.
	Head, Early []byte
	// Worker is the application process that has the other end of App.
	Worker uint32
	// Response says that the connection carries the body of a response and ends
	// with it. Such a tunnel is not closed because its worker is to leave: the
	// worker finishes its responses.
	Response bool
}

type tunnel struct {
	set      *Set
	ends     Ends
	client   side
	app      side
	up, down direction
	watcher  *watcher     // nil: there is none for its sockets
	open     atomic.Int32 // directions
	// lingering: only the client may still send. Guarded by set.mu.
	lingering bool
}

// Open joins the ends and returns at once.
func (s *Set) Open(e Ends) error {
	t := &tunnel{set: s, ends: e, client: side{ReadWriter: e.Client}, app: side{ReadWriter: e.App}}
	for _, d := range []*direction{&t.up, &t.down} {
		d.t = t
		d.state.Store(running)
	}
	var err error
	if t.app.raw, err = e.App.SyscallConn(); err != nil {
		e.App.Close()
		e.Close()
		return err
	}
	if c, ok := e.Client.(syscall.Conn); ok {
		if t.client.raw, err = c.SyscallConn(); err != nil {
			e.App.Close()
			e.Close()
			return err
		}
	}
	t.open.Store(2)
	t.begin(s.add(t))
	return nil
}

// begin starts both directions. Where nothing is to be sent first they wait
// right away, if somebody wakes them.
func (t *tunnel) begin(closing bool) {
	if t.watcher == nil || !t.watcher.watch(t) {
		t.stay()
	}
	for _, start := range []struct {
		d     *direction
		first *[]byte
	}{{&t.up, &t.ends.Early}, {&t.down, &t.ends.Head}} {
		if len(*start.first) > 0 || !start.d.park() {
			go start.d.run(take(start.first), nil)
		}
	}
	if closing {
		t.abort()
	}
}

func take(b *[]byte) []byte {
	taken := *b
	*b = nil
	return taken
}

// stay has the directions wait by themselves from now on, with the limits of
// time that the sockets have: the end of the tunnel has begun.
func (t *tunnel) stay() {
	for _, d := range []*direction{&t.up, &t.down} {
		d.staying.Store(true)
		if d.wake() {
			go d.run(nil, nil)
		}
	}
}

// awaitHangup returns when the app has ended its side in both directions.
func (t *tunnel) awaitHangup() {
	// An error is the end, too: the tunnel has been closed.
	_ = t.app.raw.Read(func(fd uintptr) bool {
		polled := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(polled, 0)
		return err == nil && n > 0 && polled[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
	})
}

func (t *tunnel) shutApp(how int) {
	// The other end may have been closed, and that is just as well.
	_ = t.app.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), how) })
}

// abort ends the tunnel as if the app had closed its socket and the client had
// ended its side. What is on its way to the client arrives.
func (t *tunnel) abort() {
	if !t.ends.Response {
		// One that cannot be set is closed already.
		_ = t.ends.Client.SetWriteDeadline(time.Now().Add(linger))
	}
	t.shutApp(unix.SHUT_RDWR)
	t.stay()
}

// fail ends the tunnel because one side has gone.
func (t *tunnel) fail() {
	t.shutApp(unix.SHUT_RDWR)
	_ = t.ends.Client.SetDeadline(past)
	t.stay()
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

func (t *tunnel) ended() {
	if t.open.Add(-1) > 0 {
		return
	}
	if t.watcher != nil {
		t.watcher.forget(t)
	}
	t.ends.App.Close()
	// A connection that the client has ended may refuse to be closed properly.
	_ = t.ends.Close()
	t.set.remove(t)
}
