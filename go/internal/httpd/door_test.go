package httpd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

type limited struct {
	*testing.T
	server *Server
	log    *lines
	at     net.Addr
}

// serveLimited serves on a listener with limits; every request gets "hello".
func serveLimited(t *testing.T, l net.Listener, limits Limits) *limited {
	t.Helper()
	r := &limited{T: t, log: new(lines), at: l.Addr()}
	r.server = NewServer(func(x *Exchange) { x.Ctx.SetBodyString("hello") },
		func(ctx *fasthttp.RequestCtx, status int, _ string) { ctx.SetStatusCode(status) }, slog.New(slog.NewTextHandler(r.log, nil)))
	r.server.Limit(limits)
	ended := make(chan struct{})
	go func() {
		r.server.Serve(l)
		close(ended)
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := r.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-ended
		r.awaitOpen(0)
	})
	return r
}

func listenOn(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (r *limited) dial(from string) net.Conn {
	r.Helper()
	dialer := net.Dialer{Timeout: 20 * time.Second}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := dialer.Dial(r.at.Network(), r.at.String())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func (r *limited) ask(c net.Conn) *http.Response {
	r.Helper()
	// One that is refused may be closed already.
	_, _ = io.WriteString(c, anyRequest)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		r.Fatal(err)
	}
	return answer
}

func (r *limited) expectServed(c net.Conn) net.Conn {
	r.Helper()
	if answer := r.ask(c); answer.StatusCode != http.StatusOK {
		r.Fatal(answer.Status)
	}
	return c
}

func (r *limited) expectRefused(c net.Conn, why string) {
	r.Helper()
	answer := r.ask(c)
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusServiceUnavailable || !answer.Close || answer.Header.Get("Retry-After") != "10" || !strings.Contains(string(text), why) {
		r.Fatalf("%s, %v, %q, %v", answer.Status, answer.Header, text, err)
	}
}

func (r *limited) awaitOpen(n int) {
	r.Helper()
	for end := time.Now().Add(20 * time.Second); r.server.Connections().Open != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("%d connections are open instead of %d", r.server.Connections().Open, n)
		}
	}
}

func TestConnectionsBeyondTheLimitAreRefusedUntilOthersAreClosed(t *testing.T) {
	r := serveLimited(t, listenOn(t, "tcp", "127.0.0.1:0"), Limits{Connections: 2})
	first := r.expectServed(r.dial(""))
	r.expectServed(r.dial(""))
	for range 3 {
		r.expectRefused(r.dial(""), "as many connections")
	}
	r.expectServed(first) // who is in stays in
	if got := r.server.Connections(); got != (Connections{Open: 2, Limit: 2, Refused: 3}) {
		t.Errorf("%+v", got)
	}
	first.Close()
	r.awaitOpen(1)
	r.expectServed(r.dial(""))
}

func TestOneAddressMayHaveSoManyConnections(t *testing.T) {
	r := serveLimited(t, listenOn(t, "tcp", "127.0.0.1:0"), Limits{PerAddress: 1})
	mine := r.expectServed(r.dial("127.0.0.1"))
	r.expectRefused(r.dial("127.0.0.1"), "from your address")
	r.expectServed(r.dial("127.0.0.2"))
	mine.Close()
	r.awaitOpen(1)
	r.expectServed(r.dial("127.0.0.1"))
	if got := r.server.Connections(); got != (Connections{Open: 2, Refused: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestAddressesAreForgottenWithTheirLastConnection(t *testing.T) {
	r := serveLimited(t, listenOn(t, "tcp", "127.0.0.1:0"), Limits{PerAddress: 2})
	for range 3 {
		r.expectServed(r.dial("")).Close()
		r.awaitOpen(0)
	}
	r.server.door.mu.Lock()
	defer r.server.door.mu.Unlock()
	if n := len(r.server.door.visitors); n != 0 {
		t.Errorf("%d are kept", n)
	}
}

func TestTheLimitForAddressesDoesNotCountForUnixSockets(t *testing.T) {
	r := serveLimited(t, listenOn(t, "unix", filepath.Join(t.TempDir(), "s")), Limits{PerAddress: 1})
	r.expectServed(r.dial(""))
	r.expectServed(r.dial(""))
}

func TestWhatIsOneAddress(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "": "invalid Prefix",
	} {
		if got := addressOf(&net.TCPAddr{IP: net.ParseIP(text)}).String(); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}

func TestConnectionsThatTheAppHasTakenOverNeedTwoDescriptors(t *testing.T) {
	var hijacked atomic.Int64
	r := serveLimited(t, listenOn(t, "tcp", "127.0.0.1:0"), Limits{Descriptors: 3, Hijacked: func() int { return int(hijacked.Load()) }})
	r.expectServed(r.dial(""))
	hijacked.Store(1)
	second := r.expectServed(r.dial(""))
	r.expectRefused(r.dial(""), "as many connections")
	hijacked.Store(9) // more than were reckoned with: one may come in when nobody is there
	second.Close()
	r.awaitOpen(1)
	r.expectRefused(r.dial(""), "as many connections")
}

func TestRefusalsDoNotWaitForClientsAndAreLoggedOnce(t *testing.T) {
	r := serveLimited(t, listenOn(t, "tcp", "127.0.0.1:0"), Limits{Connections: 1})
	inside := r.expectServed(r.dial(""))
	for range mostParting + 50 { // who neither send nor read anything
		r.dial("")
	}
	for end := time.Now().Add(20 * time.Second); r.server.Connections().Refused != mostParting+50; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", r.server.Connections())
		}
	}
	inside.Close()
	r.awaitOpen(0)
	r.expectServed(r.dial(""))
	if n := strings.Count(r.log.String(), "connections are refused"); n != 1 {
		t.Errorf("%d lines: %s", n, r.log)
	}
	if !strings.Contains(r.log.String(), "limit=max_connections value=1") {
		t.Error(r.log)
	}
}

// broke is a listener that has no descriptors for a while.
type broke struct {
	net.Listener
	failures atomic.Int64
	err      error
}

func (l *broke) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", l.err)}
	}
	return l.Listener.Accept()
}

func TestAListenerThatCannotAcceptIsTriedAgainAfterAPause(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		l := &broke{Listener: listenOn(t, "tcp", "127.0.0.1:0"), err: err}
		l.failures.Store(4)
		r := serveLimited(t, l, Limits{})
		started := time.Now()
		r.expectServed(r.dial(""))
		// With the spare descriptor the first attempt comes at once, the others after 10, 20 and 40 ms.
		if took := time.Since(started); took < 70*time.Millisecond {
			t.Errorf("%v: 4 failures in %v", err, took)
		}
		if n := strings.Count(r.log.String(), "cannot be accepted"); n != 1 {
			t.Errorf("%v: %d lines: %s", err, n, r.log)
		}
	}
}

func TestAListenerThatIsClosedEndsTheServer(t *testing.T) {
	l := &broke{Listener: listenOn(t, "tcp", "127.0.0.1:0"), err: syscall.EINVAL}
	defer l.Close()
	l.failures.Store(1)
	s := NewServer(nil, nil, slog.New(slog.DiscardHandler))
	if err := s.Serve(l); !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
	if s.door.spare != nil {
		t.Error("the spare descriptor is kept")
	}
}

// A child of this test is the server, since the limit is that of the process.
func TestAServerWithoutDescriptorsRefusesAndRecovers(t *testing.T) {
	if os.Getenv("HTTPD_TEST_DESCRIPTORS") != "" {
		serveWithFewDescriptors()
		return
	}
	t.Parallel()
	child := startSelf(t, "TestAServerWithoutDescriptorsRefusesAndRecovers", "HTTPD_TEST_DESCRIPTORS=1")
	r := &limited{T: t, at: child.at}
	var inside []net.Conn
	refused := 0
	for refused < 5 {
		c := r.dial("")
		if answer := r.ask(c); answer.StatusCode == http.StatusOK {
			inside = append(inside, c)
		} else {
			refused++
		}
		if len(inside) > 200 {
			t.Fatal("the limit does not count")
		}
	}
	if len(inside) < 20 {
		t.Fatalf("only %d were let in", len(inside))
	}
	before := child.cpuTime(t)
	time.Sleep(500 * time.Millisecond)
	if used := child.cpuTime(t) - before; used > 200*time.Millisecond {
		t.Errorf("%v of CPU time in 500 ms of waiting", used)
	}
	for _, c := range inside {
		c.Close()
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if r.ask(r.dial("")).StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nobody is let in any more")
		}
	}
}

func serveWithFewDescriptors() {
	limit := syscall.Rlimit{Cur: 64, Max: 64}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s := NewServer(func(x *Exchange) { x.Ctx.SetBodyString("hello") }, func(*fasthttp.RequestCtx, int, string) {}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	fmt.Printf("listening %s\n", l.Addr())
	go s.Serve(l)
	io.Copy(io.Discard, os.Stdin) // until the parent has gone
	os.Exit(0)
}
