package core

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
)

// hijacker answers every request with the engine's end of a socket pair and
// hands out the app's ends.
type hijacker struct {
	*rig
	apps chan *net.UnixConn
}

// newHijacker hijacks with a head of the status and the headers; 0: without.
func newHijacker(t testing.TB, status int, headers link.Headers) *hijacker {
	t.Helper()
	h := &hijacker{apps: make(chan *net.UnixConn, 8)}
	rigs := make(chan *rig, 1)
	h.rig = newRig(t, func(_ []byte, id uint64) []byte {
		r := <-rigs
		rigs <- r
		given, app := newSocketPair(t)
		r.worker.Given <- given
		h.apps <- app
		f := link.AppendFrame(nil, link.FrameHijack, status, id, link.HeadPayload(headers, nil))
		return link.AppendFrame(f, link.FrameEnd, 0, id, nil)
	})
	rigs <- h.rig
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		h.engine.tunnels.Close(ctx)
	})
	return h
}

func newSocketPair(t testing.TB) (*os.File, *net.UnixConn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[1]), "app")
	defer file.Close()
	app, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	app.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { app.Close() })
	return os.NewFile(uintptr(fds[0]), "engine"), app.(*net.UnixConn)
}

func expectBytes(t testing.TB, from io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(from, got); err != nil || string(got) != want {
		t.Fatalf("%q, %v instead of %q", got[:n], err, want)
	}
}

func expectNothingMore(t testing.TB, from io.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(from); err != nil || len(rest) > 0 {
		t.Fatalf("%q, %v instead of the end", rest, err)
	}
}

func (h *hijacker) awaitTunnels(n int) {
	h.Helper()
	for end := time.Now().Add(20 * time.Second); h.engine.tunnels.Count() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("%d tunnels are open instead of %d", h.engine.tunnels.Count(), n)
		}
	}
}

func TestAnAppThatHijacksGetsWhatTheClientHasSentBehindItsRequest(t *testing.T) {
	h := newHijacker(t, 0, nil)
	for name, request := range map[string]string{
		"bare":                       "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
		"with a body":                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		"with a large body":          "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000),
		"with a body in chunks":      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.0":                   "GET / HTTP/1.0\r\n\r\n",
		"HEAD":                       "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
		"to be closed":               "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"that may be kept and coded": "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n",
	} {
		early := strings.Repeat("early bytes ", 3000)
		c := h.dial()
		if _, err := io.WriteString(c, request+early); err != nil {
			t.Fatal(err)
		}
		app := <-h.apps
		expectBytes(t, app, early)
		io.WriteString(app, "anything")
		expectBytes(t, c, "anything")
		io.WriteString(c, "later")
		c.(*net.TCPConn).CloseWrite()
		expectBytes(t, app, "later")
		expectNothingMore(t, app)
		io.WriteString(app, "last")
		app.Close()
		expectBytes(t, c, "last")
		expectNothingMore(t, c)
		if t.Failed() {
			t.Fatal(name)
		}
		c.Close()
	}
	h.awaitTunnels(0)
	if s := h.engine.cache.Status(); s.Stores != 0 {
		t.Errorf("a hijacked exchange is kept: %+v", s)
	}
}

func TestAConnectionCanBeHijackedAfterOtherRequests(t *testing.T) {
	answers := reply(200, nil, "first")
	apps := make(chan *net.UnixConn, 1)
	rigs := make(chan *rig, 1)
	first := true
	r := newRig(t, func(m []byte, id uint64) []byte {
		if first {
			first = false
			return answers(m, id)
		}
		r := <-rigs
		given, app := newSocketPair(t)
		r.worker.Given <- given
		apps <- app
		f := link.AppendFrame(nil, link.FrameHijack, 0, id, link.HeadPayload(nil, nil))
		return link.AppendFrame(f, link.FrameEnd, 0, id, nil)
	})
	rigs <- r
	c := r.dial()
	request := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	io.WriteString(c, request+request+"early") // all at once
	reader := bufio.NewReader(c)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(response.Body); string(body) != "first" {
		t.Errorf("the response before is %q", body)
	}
	app := <-apps
	expectBytes(t, app, "early")
	io.WriteString(app, "raw")
	app.Close()
	expectBytes(t, reader, "raw")
	expectNothingMore(t, reader)
}

func TestAHeadGoesOutBeforeWhatTheAppWrites(t *testing.T) {
	var headers link.Headers
	for _, pair := range [][2]string{{"Content-Type", "text/html"}, {"Upgrade", "chat"}, {"Date", "no"}, {"X-Sendfile", "/etc/passwd"}, {"Cache-Control", "public, max-age=60"}} {
		headers = link.AppendHeader(headers, pair[0], pair[1])
	}
	for status, want := range map[int]string{
		200: "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: public, max-age=60\r\nConnection: close\r\n\r\nhello",
		101: "HTTP/1.1 101 Switching Protocols\r\nContent-Type: text/html\r\nUpgrade: chat\r\nCache-Control: public, max-age=60\r\nConnection: Upgrade\r\n\r\nhello",
	} {
		h := newHijacker(t, status, headers)
		c := h.dial()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
		app := <-h.apps
		io.WriteString(app, "hello")
		app.Close()
		raw, err := io.ReadAll(c)
		line, rest, _ := strings.Cut(string(raw), "\r\nDate: ")
		_, rest, _ = strings.Cut(rest, "\r\n")
		if got := line + "\r\n" + rest; err != nil || got != want {
			t.Errorf("%d: %q, %v", status, got, err)
		}
		if s := h.engine.cache.Status(); s.Stores != 0 {
			t.Errorf("a hijacked exchange is kept: %+v", s)
		}
	}
}

func TestAHeadThatWouldBeReadAsSomethingElseDoesNotGoOut(t *testing.T) {
	for _, header := range [][2]string{{"X", "a\r\nSet-Cookie: b"}, {"X: y\r\nZ", "a"}, {"X", "a\x00"}} {
		h := newHijacker(t, 200, link.AppendHeader(nil, header[0], header[1]))
		if response, _ := h.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); response.StatusCode != http.StatusBadGateway {
			t.Errorf("%q: %d", header, response.StatusCode)
		}
		expectNothingMore(t, <-h.apps)
	}
}

func TestWhatIsNoSocketIsNotJoinedToAClient(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() }) // after the rig's
	r := newFileRig(t, func(_ []byte, id uint64) []byte {
		f := link.AppendFrame(nil, link.FrameHijack, 0, id, link.HeadPayload(nil, nil))
		return link.AppendFrame(f, link.FrameEnd, 0, id, nil)
	}, file)
	if response, _ := r.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); response.StatusCode != http.StatusBadGateway {
		t.Errorf("%d", response.StatusCode)
	}
}

func TestTheAppReadsTheEndWhenTheClientHasGoneBefore(t *testing.T) {
	h := newHijacker(t, 0, nil)
	c := h.dial()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
	expectNothingMore(t, <-h.apps)
	h.awaitTunnels(0)
}

func TestARequestOfTheCachesOwnCannotBeHijacked(t *testing.T) {
	h := newHijacker(t, 0, nil)
	responses := make(chan int, 1)
	forward := h.engine.forward
	server := httpd.NewServer(func(x *httpd.Exchange) {
		d, err := x.Detached()
		if err != nil {
			t.Error(err)
			return
		}
		forward(d)
		responses <- d.Ctx.Response.StatusCode()
	}, h.engine.refuse, h.engine.log)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	defer server.Shutdown(context.Background())
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if status := <-responses; status != http.StatusBadGateway {
		t.Errorf("%d", status)
	}
	expectNothingMore(t, <-h.apps)
}

func TestAShutdownOfTheServerLeavesTunnelsOpen(t *testing.T) {
	h := newHijacker(t, 0, nil)
	c := h.dial()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	app := <-h.apps
	io.WriteString(app, "one")
	expectBytes(t, c, "one")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := h.engine.server.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "two")
	expectBytes(t, app, "two")
	pid := uint32(os.Getpid())
	if n := h.engine.tunnels.CountOf(pid); n != 1 {
		t.Errorf("%d tunnels of this process are open", n)
	}
	h.engine.tunnels.CloseAll(pid)
	expectNothingMore(t, app)
	expectNothingMore(t, c)
}
