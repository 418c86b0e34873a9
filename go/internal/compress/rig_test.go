package compress

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	brotli "github.com/molecule-man/go-brrr"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"passenger/go/internal/httpd"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(collected{m},
		// fasthttp's clock for the Date header runs as long as the process, and a
		// stopped server's sweep of idle workers ends when it next wakes.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// collected ends the tests with collections that empty the pools of encoders:
// the goroutines of those for brotli 10 and 11 must go with them.
type collected struct{ *testing.M }

func (c collected) Run() int {
	status := c.M.Run()
	for range 4 {
		runtime.GC()
	}
	return status
}

var options = Options{Levels: Levels{Gzip: 5, Brotli: 4}, MinSize: 1000, Log: slog.New(slog.DiscardHandler)}

// serve has a real server answer with what app puts into the response, through
// the step, and returns its address.
func serve(t testing.TB, s *step, app httpd.Handler) string {
	t.Helper()
	server := httpd.NewServer(s.handler(app), func(ctx *fasthttp.RequestCtx, status int, _ string) { ctx.SetStatusCode(status) }, s.Log)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { server.Serve(l) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	return l.Addr().String()
}

// vanish breaks the connection off: unread bytes make it a reset.
func vanish(response *http.Response) error {
	return response.Body.(*connected).conn.Close()
}

// connected is a response body that knows its connection.
type connected struct {
	io.ReadCloser
	conn net.Conn
}

// ask sends a request with these header lines and reads the head of the response.
func ask(t testing.TB, addr, requestLine string, headers ...string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	var lines string
	for _, h := range headers {
		if h != "" {
			lines += h + "\r\n"
		}
	}
	if _, err := io.WriteString(c, requestLine+"\r\nHost: a\r\nConnection: close\r\n"+lines+"\r\n"); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(requestLine, " ")
	response, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %q: %v", requestLine, headers, err)
	}
	response.Body = &connected{response.Body, c}
	return response
}

// decoder undoes the response's coding.
func decoder(t testing.TB, response *http.Response) io.Reader {
	t.Helper()
	switch coding := response.Header.Get("Content-Encoding"); coding {
	case "":
		return response.Body
	case "gzip":
		r, err := gzip.NewReader(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		r.Multistream(false)
		return r
	case "br":
		return brotli.NewReader(response.Body)
	default:
		t.Fatalf("coding %q", coding)
		return nil
	}
}

func decoded(t testing.TB, response *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(decoder(t, response))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// source is a body of the app that comes in pieces.
type source struct {
	pieces chan string // closed: the end of the body
	rest   string
	fail   error // in place of the end
	closed *atomic.Int32
	moved  bool
}

func newSource(pieces ...string) *source {
	s := &source{pieces: make(chan string, len(pieces)), closed: new(atomic.Int32)}
	for _, p := range pieces {
		s.pieces <- p
	}
	return s
}

// ended is a source with all of its pieces.
func ended(pieces ...string) *source {
	s := newSource(pieces...)
	close(s.pieces)
	return s
}

func (s *source) Read(p []byte) (int, error) {
	if s.rest == "" {
		var ok bool
		if s.rest, ok = <-s.pieces; !ok {
			if s.fail != nil {
				return 0, s.fail
			}
			return 0, io.EOF
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *source) Close() error {
	if !s.moved {
		s.closed.Add(1)
	}
	return nil
}

func (s *source) Detach() io.ReadCloser {
	moved := *s
	s.moved = true
	return &moved
}

// fileSource is a source that is a file.
type fileSource struct{ *source }

func (fileSource) FileBody() {}

// stream answers with a body stream, length -1 if it is not announced.
func stream(body io.Reader, length int, headers ...string) httpd.Handler {
	return func(x *httpd.Exchange) {
		set(x, headers...)
		x.Ctx.Response.ImmediateHeaderFlush = true
		x.Ctx.Response.SetBodyStream(body, length)
	}
}

// complete answers with a whole body.
func complete(body string, headers ...string) httpd.Handler {
	return func(x *httpd.Exchange) {
		set(x, headers...)
		x.Ctx.Response.SwapBody([]byte(body))
	}
}

// set sets headers given as "Name: value"; text/html unless there is a type.
func set(x *httpd.Exchange, headers ...string) {
	x.Ctx.Response.Header.SetContentType("text/html; charset=utf-8")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		x.Ctx.Response.Header.Add(name, value)
	}
}

// page is HTML as an app makes it, of about that many bytes.
func page(size int) string {
	words := strings.Fields("article posted by the author on comments a server for Rails in which every request is answered quickly and without waiting users edit delete show new session token value name with some more text that people write")
	random := rand.New(rand.NewSource(1))
	var b bytes.Buffer
	b.WriteString("<!DOCTYPE html><html><head><title>Posts</title></head><body>\n")
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "<tr id=\"post_%d\" class=\"post row\">\n  <td class=\"title\"><a href=\"/posts/%d\">", i, i)
		for range 6 + random.Intn(20) {
			b.WriteString(words[random.Intn(len(words))] + " ")
		}
		fmt.Fprintf(&b, "</a></td>\n  <td><form class=\"button_to\" method=\"post\" action=\"/posts/%d\"><input type=\"hidden\" name=\"authenticity_token\" value=\"%x\"></form></td>\n</tr>\n", i, random.Int63())
	}
	return b.String()
}

// noise is text/plain that no coding makes smaller.
func noise(size int) string {
	b := make([]byte, size)
	rand.New(rand.NewSource(2)).Read(b)
	return string(b)
}

// journal is a log that may be read while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
