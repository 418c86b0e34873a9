package cable

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 20 * time.Second

// rig is a broker on a socket.
type rig struct {
	testing.TB
	*Broker
	path     string
	log      *logBuffer
	listener net.Listener
	served   chan error
}

// start runs a broker until the test ends.
func start(t testing.TB, o Options) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "cable")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{TB: t, path: filepath.Join(dir, "cable"), log: &logBuffer{}, served: make(chan error, 1)}
	o.Log = slog.New(slog.NewTextHandler(r.log, nil))
	if r.listener, err = net.Listen("unix", r.path); err != nil {
		t.Fatal(err)
	}
	r.Broker = New(o)
	go func() { r.served <- r.Serve(r.listener) }()
	t.Cleanup(func() {
		r.end(patience)
		os.RemoveAll(dir)
	})
	return r
}

// end stops the broker as its owner does.
func (r *rig) end(within time.Duration) {
	r.Helper()
	r.listener.Close()
	if err, open := <-r.served; open && err != nil {
		r.Error(err)
	} else if open {
		close(r.served)
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	r.Stop(ctx)
}

// peer is a client of the broker's that a test drives frame by frame.
type peer struct {
	testing.TB
	net.Conn
	r      *bufio.Reader
	number uint32
}

func (r *rig) dial() *peer {
	r.Helper()
	conn, err := net.Dial("unix", r.path)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	return &peer{TB: r, Conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
}

// connect has said hello and been answered.
func (r *rig) connect(name string) *peer {
	r.Helper()
	p := r.dial()
	p.send(newFrame(kindHello, Version, "", name))
	p.expect(kindHello, Version, "", "")
	return p
}

func (p *peer) send(f frame) {
	p.Helper()
	if _, err := p.Write(f); err != nil {
		p.Fatal(err)
	}
}

func (p *peer) next() frame {
	p.Helper()
	p.SetReadDeadline(time.Now().Add(patience))
	f, err := readFrame(p.r)
	if err != nil {
		p.Fatal(err)
	}
	return f
}

func (p *peer) expect(k kind, number uint32, channel, message string) {
	p.Helper()
	if f := p.next(); !bytes.Equal(f, newFrame(k, number, channel, message)) {
		p.Fatalf("got %s, not %s", describe(f), describe(newFrame(k, number, channel, message)))
	}
}

// expectEnd reads what is left, which must be frames, and the end.
func (p *peer) expectEnd() {
	p.Helper()
	p.SetReadDeadline(time.Now().Add(patience))
	for {
		f, err := readFrame(p.r)
		if err == io.EOF {
			return
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			p.Fatal(err)
		}
		if err != nil {
			return
		}
		if f.kind() != kindMessage {
			p.Fatalf("got %s before the end", describe(f))
		}
	}
}

// ask sends a frame with a number of its own and waits for its acknowledgement.
func (p *peer) ask(k kind, channel, message string) {
	p.Helper()
	p.number++
	p.send(newFrame(k, p.number, channel, message))
	p.expect(kindDone, p.number, "", "")
}

func (p *peer) subscribe(channel string)   { p.Helper(); p.ask(kindSubscribe, channel, "") }
func (p *peer) unsubscribe(channel string) { p.Helper(); p.ask(kindUnsubscribe, channel, "") }
func (p *peer) publish(channel, message string) {
	p.Helper()
	p.send(newFrame(kindPublish, 0, channel, message))
}

func describe(f frame) string {
	var b strings.Builder
	b.WriteString("kind " + string('0'+rune(f.kind())))
	for what, text := range map[string][]byte{" channel ": f.channel(), " message ": f.message()} {
		b.WriteString(what + string(text[:min(len(text), 60)]))
	}
	return b.String()
}

// rawHeader is one that newFrame would not make.
func rawHeader(size uint32, k kind, zero byte, channel uint16, number uint32) []byte {
	h := make([]byte, headerSize)
	binary.LittleEndian.PutUint32(h, size)
	h[4], h[5] = byte(k), zero
	binary.LittleEndian.PutUint16(h[6:], channel)
	binary.LittleEndian.PutUint32(h[8:], number)
	return h
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// goroutines are those of this package's code, the tests' left out.
func goroutines() (found []string) {
	stacks := make([]byte, 1<<20)
	for _, stack := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "cable.(*client)") || strings.Contains(stack, "cable.(*Broker)") {
			found = append(found, stack)
		}
	}
	return found
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
