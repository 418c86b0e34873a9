package cable

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readBuffer  = 16 << 10
	writeBuffer = 64 << 10
	// accountEvery is after how many written bytes those who wait for room learn of it.
	accountEvery = 64 << 10
	// farewell is how long a client may take to read why it is disconnected.
	farewell = time.Second
	// longestName is how much of the name of a client goes into the log.
	longestName = 100
)

// client is a connected process. One goroutine reads from it, one writes to it.
type client struct {
	broker   *Broker
	conn     net.Conn
	channels map[string]*channel // guarded by the broker's lock
	name     atomic.Pointer[string]

	mu     sync.Mutex
	more   *sync.Cond // there is something to write, or it is time to end
	queue  []frame
	queued int           // bytes in queue, and of those that are being written
	room   chan struct{} // closed when queued has come down to half the limit; nil: nobody waits for it
	ending bool          // when the queue is empty the connection is closed
	closed bool
}

func newClient(b *Broker, conn net.Conn) *client {
	c := &client{broker: b, conn: conn, channels: map[string]*channel{}}
	c.more = sync.NewCond(&c.mu)
	return c
}

// run serves the client until it, or the broker, has had enough.
func (c *client) run() {
	defer c.broker.running.Done()
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write()
	}()
	err := c.read()
	var breach violation
	if errors.As(err, &breach) {
		c.broker.log.Warn("a process has broken the rules of the cable socket and is disconnected", "process", c.title(), "error", err)
		_ = c.conn.SetWriteDeadline(time.Now().Add(farewell))
		c.push(newFrame(kindFailure, 0, "", err.Error()))
		c.finish()
		<-written
	}
	c.close()
	<-written
	c.broker.remove(c)
}

// read obeys the client's frames. It always returns an error.
func (c *client) read() error {
	r := bufio.NewReaderSize(c.conn, readBuffer)
	if err := c.greet(r); err != nil {
		return err
	}
	for {
		f, err := readFrame(r)
		if err != nil {
			return err
		}
		if len(f.channel()) == 0 {
			return violation(fmt.Sprintf("a frame of kind %d names no channel", f.kind()))
		}
		switch f.kind() {
		case kindPublish:
			for _, slow := range c.broker.publish(c, f) {
				c.broker.wait(slow)
			}
		case kindSubscribe:
			c.broker.subscribe(c, f)
		case kindUnsubscribe:
			c.broker.unsubscribe(c, f)
		default:
			return violation(fmt.Sprintf("a frame has the kind %d, which no client sends", f.kind()))
		}
	}
}

// greet reads the client's hello and answers it.
func (c *client) greet(r *bufio.Reader) error {
	if err := c.conn.SetReadDeadline(time.Now().Add(c.broker.options.HelloTimeout)); err != nil {
		return err
	}
	f, err := readFrame(r)
	switch {
	case err != nil:
		return err
	case f.kind() != kindHello:
		return violation(fmt.Sprintf("the first frame has the kind %d instead of %d (hello)", f.kind(), kindHello))
	case f.number() != Version:
		return violation(fmt.Sprintf("the process speaks version %d of the protocol, the server version %d: they run different versions of the gem", f.number(), Version))
	}
	name := strings.ToValidUTF8(string(f.message()[:min(len(f.message()), longestName)]), "?")
	c.name.Store(&name)
	c.push(newFrame(kindHello, Version, "", ""))
	return c.conn.SetReadDeadline(time.Time{})
}

// title says who it is.
func (c *client) title() string {
	if name := c.name.Load(); name != nil {
		return *name
	}
	return "unknown"
}

func (c *client) acknowledge(number uint32) {
	if number != 0 {
		c.push(newFrame(kindDone, number, "", ""))
	}
}

// push puts a frame in line. It never waits: full says that more is in line
// than should be.
func (c *client) push(f frame) (full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.ending {
		return false
	}
	c.queue = append(c.queue, f)
	c.queued += len(f)
	if len(c.queue) == 1 {
		c.more.Signal()
	}
	return c.queued > c.broker.options.Buffer
}

// write sends what is in line until the client is closed.
func (c *client) write() {
	defer c.close()
	w := bufio.NewWriterSize(c.conn, writeBuffer)
	var batch []frame
	for {
		if batch = c.take(batch); batch == nil {
			return
		}
		size := 0
		for i, f := range batch {
			if _, err := w.Write(f); err != nil {
				return
			}
			if f.kind() == kindMessage {
				c.broker.delivered.Add(1)
			}
			batch[i] = nil
			if size += len(f); size >= accountEvery {
				c.account(size)
				size = 0
			}
		}
		c.account(size)
		if c.idle() && w.Flush() != nil {
			return
		}
	}
}

// take waits for frames. used is what it has returned before, to be filled again.
func (c *client) take(used []frame) []frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) == 0 && !c.ending && !c.closed {
		c.more.Wait()
	}
	if c.closed || len(c.queue) == 0 {
		return nil
	}
	const most = 4096 // places that are kept
	batch := c.queue
	if cap(used) > most {
		used = nil
	}
	c.queue = used[:0]
	return batch
}

func (c *client) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue) == 0
}

// account notes that bytes have been written.
func (c *client) account(size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queued -= size
	if c.room != nil && c.queued <= c.broker.options.Buffer/2 {
		close(c.room)
		c.room = nil
	}
}

func (c *client) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queued
}

// finish closes the connection when what is in line has been written.
func (c *client) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
	c.more.Signal()
}

// close closes the connection at once; false if that has been done before.
func (c *client) close() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.closed = true
	_ = c.conn.Close() // nothing of it is needed any more
	c.queue = nil
	c.more.Signal()
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
	return true
}

// hasRoom returns nil if the client has read enough, or is gone; else what is
// closed when that is so.
func (c *client) hasRoom() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.queued <= c.broker.options.Buffer/2 {
		return nil
	}
	if c.room == nil {
		c.room = make(chan struct{})
	}
	return c.room
}

// wait holds up the goroutine that reads from a publisher until a subscriber
// has read half of what waits for it; one that does not is dropped.
func (b *Broker) wait(slow *client) {
	room := slow.hasRoom()
	if room == nil {
		return
	}
	patience := time.NewTimer(b.options.Patience)
	defer patience.Stop()
	select {
	case <-room:
	case <-b.stop:
	case <-patience.C:
		b.drop(slow)
	}
}
