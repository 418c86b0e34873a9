// Package cable is the broker of the subscription adapter `passenger` of
// Action Cable: it passes messages on channels from the processes that publish
// them to those that have subscribed. docs/protocol.md describes what is
// said on the sockets, docs/action-cable.md what it is good for.
//
// All subscribers of a channel get its messages in the same order, and none
// of them twice or not at all as long as its connection lives. A subscriber
// that does not read holds up the publishers for a moment, then it is
// disconnected.
package cable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a broker.
type Options struct {
	Log *slog.Logger

	// MaxConnections and the others have defaults, which are used where they are 0.
	MaxConnections   int           // at a time
	MaxSubscriptions int           // of one connection
	Buffer           int           // bytes that may wait for a subscriber; more hold up who publishes
	Patience         time.Duration // how long they do, until the subscriber must have taken half of that
	HelloTimeout     time.Duration // from the connection to the client's first frame
}

const (
	defaultConnections   = 1024
	defaultSubscriptions = 1 << 18
	defaultBuffer        = 8 << 20
	defaultPatience      = 5 * time.Second
	defaultHelloTimeout  = 10 * time.Second
)

// Broker is one set of channels.
type Broker struct {
	options Options
	log     *slog.Logger
	stop    chan struct{} // closed when Stop begins

	mu       sync.Mutex // held while a message is put in line for all its subscribers: that makes the order
	channels map[string]*channel
	clients  map[*client]struct{}
	stopping bool

	subscriptions int
	published     uint64
	dropped       uint64
	delivered     atomic.Uint64
	running       sync.WaitGroup // of clients
}

// channel has a subscriber at least.
type channel struct {
	name        string
	subscribers []*client
}

// Stats is what there is to know about a broker.
type Stats struct {
	Connections        int    `json:"connections"`
	Channels           int    `json:"channels"`      // that have subscribers
	Subscriptions      int    `json:"subscriptions"` // of processes, not of their clients
	Published          uint64 `json:"published"`
	Delivered          uint64 `json:"delivered"`           // messages, each counted for every process that it was written to
	DroppedConnections uint64 `json:"dropped_connections"` // that did not read
}

// New makes a broker that nobody is connected to.
func New(o Options) *Broker {
	o.MaxConnections = orDefault(o.MaxConnections, defaultConnections)
	o.MaxSubscriptions = orDefault(o.MaxSubscriptions, defaultSubscriptions)
	o.Buffer = orDefault(o.Buffer, defaultBuffer)
	o.Patience = orDefault(o.Patience, defaultPatience)
	o.HelloTimeout = orDefault(o.HelloTimeout, defaultHelloTimeout)
	return &Broker{options: o, log: o.Log, stop: make(chan struct{}), channels: map[string]*channel{}, clients: map[*client]struct{}{}}
}

func orDefault[T int | time.Duration](value, preset T) T {
	if value == 0 {
		return preset
	}
	return value
}

// Serve serves the connections of a listener until that is closed. It may run
// for several at a time, and for one after the other.
func (b *Broker) Serve(l net.Listener) error {
	const longestPause = time.Second
	var pause time.Duration
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil && isTemporary(err): // descriptors have run out
			pause = min(max(2*pause, 5*time.Millisecond), longestPause)
			b.log.Warn("the cable socket cannot accept a connection, it tries again", "error", err, "in", pause)
			select {
			case <-time.After(pause):
			case <-b.stop:
			}
		case err != nil:
			return fmt.Errorf("accepting a connection: %w", err)
		default:
			pause = 0
			b.admit(conn)
		}
	}
}

func isTemporary(err error) bool {
	var failure interface{ Temporary() bool }
	return errors.As(err, &failure) && failure.Temporary()
}

// Refuse tells a client that has connected why it is of no use, and closes.
func Refuse(conn net.Conn, reason string) {
	// It fits into the buffer of a socket that nothing has been written to.
	_, _ = conn.Write(newFrame(kindFailure, 0, "", reason))
	_ = conn.Close()
}

func (b *Broker) admit(conn net.Conn) {
	c := newClient(b, conn)
	b.mu.Lock()
	full, stopping := len(b.clients) >= b.options.MaxConnections, b.stopping
	if !full && !stopping {
		b.clients[c] = struct{}{}
		b.running.Add(1)
	}
	b.mu.Unlock()
	switch {
	case stopping:
		Refuse(conn, "the server stops")
	case full:
		b.log.Warn("a connection to the cable socket was refused, there are too many", "limit", b.options.MaxConnections)
		Refuse(conn, fmt.Sprintf("the server has %d connections to its cable socket, which is the most it takes", b.options.MaxConnections))
	default:
		go c.run()
	}
}

// Stop ends the broker: what waits is sent to those that read it, until ctx
// ends. The listeners are their owners'.
func (b *Broker) Stop(ctx context.Context) {
	b.mu.Lock()
	if !b.stopping {
		b.stopping = true
		close(b.stop)
	}
	clients := make([]*client, 0, len(b.clients))
	for c := range b.clients {
		clients = append(clients, c)
	}
	b.mu.Unlock()
	for _, c := range clients {
		c.finish()
	}
	done := make(chan struct{})
	go func() { b.running.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	for _, c := range clients {
		c.close()
	}
	<-done
}

// Stats tells how things are.
func (b *Broker) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{
		Connections: len(b.clients), Channels: len(b.channels), Subscriptions: b.subscriptions,
		Published: b.published, Delivered: b.delivered.Load(), DroppedConnections: b.dropped,
	}
}

// subscribe adds c to the subscribers of a channel. The acknowledgement is put
// in line under the same lock: every message that c gets from now on was
// published after it had subscribed.
func (b *Broker) subscribe(c *client, f frame) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := f.channel()
	if _, is := c.channels[string(name)]; !is {
		if len(c.channels) >= b.options.MaxSubscriptions {
			c.push(newFrame(kindFailure, f.number(), "", fmt.Sprintf("this process has %d subscriptions, which is the most that one can have", b.options.MaxSubscriptions)))
			return
		}
		ch := b.channels[string(name)]
		if ch == nil {
			ch = &channel{name: string(name)}
			b.channels[ch.name] = ch
		}
		ch.subscribers = append(ch.subscribers, c)
		c.channels[ch.name] = ch
		b.subscriptions++
	}
	c.acknowledge(f.number())
}

func (b *Broker) unsubscribe(c *client, f frame) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ch := c.channels[string(f.channel())]; ch != nil {
		b.leave(c, ch)
	}
	c.acknowledge(f.number())
}

// leave is called with the lock held.
func (b *Broker) leave(c *client, ch *channel) {
	for i, subscriber := range ch.subscribers {
		if subscriber == c {
			last := len(ch.subscribers) - 1
			ch.subscribers[i] = ch.subscribers[last]
			ch.subscribers[last] = nil
			ch.subscribers = ch.subscribers[:last]
			break
		}
	}
	if len(ch.subscribers) == 0 {
		delete(b.channels, ch.name)
	}
	delete(c.channels, ch.name)
	b.subscriptions--
}

// publish puts a message in line for every subscriber of its channel, and
// returns those for whom more waits than should.
func (b *Broker) publish(c *client, f frame) (full []*client) {
	number := f.number()
	f.become(kindMessage, 0)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.published++
	if ch := b.channels[string(f.channel())]; ch != nil {
		for _, subscriber := range ch.subscribers {
			if subscriber.push(f) {
				full = append(full, subscriber)
			}
		}
	}
	c.acknowledge(number)
	return full
}

// remove forgets a client that has gone.
func (b *Broker) remove(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ch := range c.channels {
		b.leave(c, ch)
	}
	delete(b.clients, c)
}

// drop disconnects a client that does not read.
func (b *Broker) drop(c *client) {
	if !c.close() {
		return
	}
	b.mu.Lock()
	b.dropped++
	b.mu.Unlock()
	b.log.Warn("a process has not read its Action Cable messages and is disconnected; when it connects again it has missed some",
		"process", c.title(), "waiting_bytes", c.waiting(), "seconds", b.options.Patience.Seconds())
}
