package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"
	"golang.org/x/sys/unix"
)

// fleet is all sockets. One goroutine waits for them and reads what comes.
type fleet struct {
	poll    int
	address netip.AddrPort

	mu        sync.Mutex
	changed   *sync.Cond
	sockets   []*socket
	byFD      map[int]*socket
	subscribe func(*socket) []byte // what to send when the server has welcomed a socket
	confirmed int
	echoes    int
	tally     tally
	published []int // broadcasts, by stream
	failure   error // the first thing that no server may do
}

func newFleet() (*fleet, error) {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := &fleet{poll: poll, byFD: map[int]*socket{}}
	f.changed = sync.NewCond(&f.mu)
	go f.watch()
	return f, nil
}

// await returns when done says so, with the lock held while that is asked.
func (f *fleet) await(within float64, what string, done func() bool) error {
	late := false
	timer := time.AfterFunc(time.Duration(within*float64(time.Second)), func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		late = true
		f.changed.Broadcast()
	})
	defer timer.Stop()
	for !done() && !late && f.failure == nil {
		f.changed.Wait()
	}
	switch {
	case f.failure != nil:
		return f.failure
	case !done():
		return fmt.Errorf("not %s within %.0f s", what, within)
	}
	return nil
}

// connected is the answer to connect.
type connected struct {
	Sockets int     `json:"sockets"`
	Seconds float64 `json:"seconds"`
}

func (f *fleet) connect(c command) (any, error) {
	address, err := netip.ParseAddrPort(c.Address)
	if err != nil {
		return nil, err
	}
	f.address = address
	f.mu.Lock()
	if f.published == nil {
		f.published = make([]int, max(c.Streams, 1))
	}
	if c.Channel != "" {
		f.subscribe = subscription(c.Channel)
	}
	before := len(f.sockets)
	f.mu.Unlock()

	started := time.Now()
	numbers := make(chan int)
	errs := make(chan error, max(c.Connections, 1))
	for range max(c.Connections, 1) {
		go func() {
			var failed error
			for n := range numbers {
				if failed == nil {
					failed = f.add(c, before+n)
				}
			}
			errs <- failed
		}()
	}
	for n := range c.Sockets {
		numbers <- n
	}
	close(numbers)
	for range max(c.Connections, 1) {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.Channel != "" {
		if err := f.await(c.Within, "all subscriptions confirmed", func() bool { return f.confirmed == len(f.sockets) }); err != nil {
			return nil, fmt.Errorf("%w: %d of %d", err, f.confirmed, len(f.sockets))
		}
	}
	return connected{len(f.sockets), time.Since(started).Seconds()}, nil
}

// subscription makes what subscribes a socket to its stream.
func subscription(channel string) func(*socket) []byte {
	return func(s *socket) []byte {
		identifier, _ := json.Marshal(map[string]any{"channel": channel, "stream": s.stream})
		text, _ := json.Marshal(map[string]string{"command": "subscribe", "identifier": string(identifier)})
		return clientFrame(opText, text)
	}
}

func (f *fleet) add(c command, number int) error {
	s, err := open(f.address, c.Path)
	if err != nil {
		return fmt.Errorf("socket %d: %w", number+1, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.stream = number % len(f.published)
	f.sockets = append(f.sockets, s)
	f.byFD[s.fd] = s
	early := s.partial
	s.partial = nil
	f.take(s, early, monotonic())
	return unix.EpollCtl(f.poll, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s.fd)})
}

// watch reads from all sockets, for ever.
func (f *fleet) watch() {
	events := make([]unix.EpollEvent, 1024)
	buffer := make([]byte, 64<<10)
	for {
		n, err := unix.EpollWait(f.poll, events, -1)
		if err != nil && err != unix.EINTR {
			f.mu.Lock()
			f.failed(err)
			f.mu.Unlock()
			return
		}
		f.mu.Lock()
		for i := range max(n, 0) {
			if s := f.byFD[int(events[i].Fd)]; s != nil {
				f.read(s, buffer)
			}
		}
		f.changed.Broadcast()
		f.mu.Unlock()
	}
}

func (f *fleet) failed(err error) {
	if f.failure == nil {
		f.failure = err
	}
}

func (f *fleet) read(s *socket, buffer []byte) {
	n, err := unix.Read(s.fd, buffer)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
	case err != nil || n == 0:
		f.closed(s)
	default:
		f.take(s, buffer[:n], monotonic())
	}
}

func (f *fleet) closed(s *socket) {
	s.closed = true
	f.tally.Closed++
	delete(f.byFD, s.fd)
	unix.Close(s.fd)
}

// take deals with what has come on a socket.
func (f *fleet) take(s *socket, b []byte, now time.Duration) {
	if s.partial != nil {
		b = append(s.partial, b...)
		s.partial = nil
	}
	for {
		opcode, payload, rest, complete, err := takeFrame(b)
		if err != nil {
			f.failed(err)
			return
		}
		if !complete {
			break
		}
		b = rest
		switch opcode {
		case opText:
			if err := f.message(s, payload, now); err != nil {
				f.failed(err)
			}
		case opPing:
			if err := s.send(clientFrame(opPong, payload)); err != nil {
				f.failed(err)
			}
		}
	}
	if len(b) > 0 {
		s.partial = append([]byte(nil), b...)
	}
}

func (f *fleet) message(s *socket, text []byte, now time.Duration) error {
	if f.subscribe == nil {
		f.echoes++
		return nil
	}
	fields := gjson.GetManyBytes(text, "type", "message.n", "message.at")
	switch kind := fields[0].String(); {
	case fields[1].Exists():
		f.tally.count(s, int(fields[1].Int()), now-time.Duration(fields[2].Float()*float64(time.Second)), now)
	case kind == "welcome":
		return s.send(f.subscribe(s))
	case kind == "confirm_subscription":
		f.confirmed++
	case kind == "ping":
		f.tally.Pings++
	default:
		return fmt.Errorf("the server sent %q", strings.ToValidUTF8(string(text[:min(len(text), 200)]), "?"))
	}
	return nil
}

// echoed is the answer to echo.
type echoed struct {
	Echoes  int     `json:"echoes"`
	Seconds float64 `json:"seconds"`
}

func (f *fleet) echo(c command) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	started := time.Now()
	f.echoes = 0
	for number, s := range f.sockets {
		if s.closed {
			return nil, fmt.Errorf("socket %d was closed by the server", number+1)
		}
		if err := s.send(clientFrame(opText, []byte("are you there"))); err != nil {
			return nil, fmt.Errorf("socket %d: %w", number+1, err)
		}
	}
	if err := f.await(c.Within, "all echoes there", func() bool { return f.echoes >= len(f.sockets) }); err != nil {
		return nil, fmt.Errorf("%w: %d of %d", err, f.echoes, len(f.sockets))
	}
	return echoed{f.echoes, time.Since(started).Seconds()}, nil
}
