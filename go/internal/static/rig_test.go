package static

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/compress"
	"passenger/go/internal/httpd"
)

// rig is a site of temporary directories behind a real server. Its clock is so
// far ahead that a file counts as old as soon as it has been written.
type rig struct {
	testing.TB
	dir     string // the public directory
	pages   string // the directory of cached pages
	site    *Site
	files   *Files
	addr    string
	ahead   atomic.Int64 // how far the clock is ahead, in nanoseconds
	encoded atomic.Int64 // calls of Encode
	cut     atomic.Int64 // requests that have taken the shortcut
	app     atomic.Pointer[httpd.Handler]
	frozen  atomic.Int64 // where the clock stands, in nanoseconds since 1970; 0: it goes
	conn    net.Conn
	reader  *bufio.Reader
}

const (
	rigMinSize = 100
	fromApp    = "the app's"
	longAgo    = 1_000_000_000 // an mtime, in seconds: Sun, 09 Sep 2001 01:46:40 GMT
)

// newRig makes a site with options, which may be nil.
func newRig(t testing.TB, adapt func(*Options)) *rig {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{TB: t, dir: filepath.Join(base, "public"), pages: filepath.Join(base, "pages")}
	r.ahead.Store(int64(time.Minute))
	for _, dir := range []string{r.dir, r.pages} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{CacheSize: 16 << 20, Compression: true, MinSize: rigMinSize, Log: slog.New(slog.DiscardHandler),
		Encode: func(dst, src []byte, c compress.Coding) ([]byte, error) {
			r.encoded.Add(1)
			return compress.Levels{Gzip: 1, Brotli: 1}.Bytes(dst, src, c)
		}}
	if adapt != nil {
		adapt(&o)
	}
	public := NewRoot(r.dir, nil)
	r.site = &Site{
		Public: public, Pages: []*Root{NewRoot(r.pages, nil), public}, Prefix: []byte("/blog"),
		Assets: []*regexp.Regexp{regexp.MustCompile(`^/assets/.+-[0-9a-f]{8}\.`)},
	}
	r.files = New(o, r.site)
	r.files.now = func() time.Time {
		if at := r.frozen.Load(); at != 0 {
			return time.Unix(0, at)
		}
		return time.Now().Add(time.Duration(r.ahead.Load()))
	}
	r.answerWith(func(x *httpd.Exchange) { x.Ctx.SetBodyString(fromApp) })
	server := httpd.NewServer(r.files.Handler(func(x *httpd.Exchange) { (*r.app.Load())(x) }),
		func(ctx *fasthttp.RequestCtx, status int, reason string) { ctx.Error(reason, status) }, slog.New(slog.DiscardHandler))
	server.UseShortcut(func(x *httpd.Exchange, date, head []byte) (_, body []byte, ok bool) {
		if head, body, ok = r.files.Shortcut(x, date, head); ok {
			r.cut.Add(1)
		}
		return head, body, ok
	})
	t.Cleanup(r.noFileOpen)
	r.addr = r.serve(server)
	return r
}

// serve runs a server until the end of the test and tells its address.
func (r *rig) serve(server *httpd.Server) string {
	r.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	r.Cleanup(func() {
		if r.conn != nil {
			r.conn.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			r.Error(err)
		}
		if err := <-done; err != nil {
			r.Error(err)
		}
	})
	return l.Addr().String()
}

// noFileOpen waits until the server has closed all files of the site.
func (r *rig) noFileOpen() {
	r.Helper()
	base := filepath.Dir(r.dir)
	eventually(r, "all files are closed", func() bool { return openBelow(r, base) == 0 })
}

// openBelow counts the files in dir that this process has open.
func openBelow(t testing.TB, dir string) (n int) {
	t.Helper()
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range descriptors {
		if target, err := os.Readlink("/proc/self/fd/" + d.Name()); err == nil && strings.HasPrefix(target, dir) {
			n++
		}
	}
	return n
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

// write writes a file of the public directory and gives it an old time.
func (r *rig) write(name, content string) string {
	r.Helper()
	return r.writeTo(filepath.Join(r.dir, name), content)
}

func (r *rig) writeTo(path, content string) string {
	r.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		r.Fatal(err)
	}
	return r.date(path, time.Unix(longAgo, 0))
}

func (r *rig) date(path string, modified time.Time) string {
	r.Helper()
	if err := os.Chtimes(path, modified, modified); err != nil {
		r.Fatal(err)
	}
	return path
}

// answerWith makes a handler the app.
func (r *rig) answerWith(app httpd.Handler) { r.app.Store(&app) }

func (r *rig) advance(d time.Duration) { r.ahead.Add(int64(d)) }

// answer is a response with its body; err is why there is less of that than announced.
type answer struct {
	*http.Response
	body string
	err  error
}

// get asks for a target; fields are header lines.
func (r *rig) get(target string, fields ...string) answer {
	r.Helper()
	return r.ask(http.MethodGet, target, fields...)
}

// ask sends a request on the rig's connection.
func (r *rig) ask(method, target string, fields ...string) answer {
	r.Helper()
	if r.conn == nil {
		var err error
		if r.conn, err = net.Dial("tcp", r.addr); err != nil {
			r.Fatal(err)
		}
		r.reader = bufio.NewReader(r.conn)
	}
	a := converse(r, r.conn, r.reader, method, target, fields...)
	if a.Close || a.err != nil {
		r.conn.Close()
		r.conn = nil
	}
	return a
}

func converse(t testing.TB, conn net.Conn, reader *bufio.Reader, method, target string, fields ...string) answer {
	t.Helper()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	head := strings.Join(append([]string{method + " " + target + " HTTP/1.1", "Host: h"}, fields...), "\r\n") + "\r\n\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(reader, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", head, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("%q: %v", head, err)
	}
	return answer{response, string(body), err}
}

// is checks the status and header fields ("Name: value"; "Name:" for none).
func (a answer) is(t testing.TB, what string, status int, fields ...string) {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("%s: status %d, not %d", what, a.StatusCode, status)
	}
	for _, field := range fields {
		name, want, _ := strings.Cut(field, ":")
		want = strings.TrimSpace(want)
		if got := strings.Join(a.Header.Values(name), " | "); got != want {
			t.Errorf("%s: %s is %q, not %q", what, name, got, want)
		}
	}
}

func (a answer) says(t testing.TB, what, body string) {
	t.Helper()
	if a.err != nil || a.body != body {
		t.Errorf("%s: the body is %.60q (%d bytes), not %.60q (%d bytes); %v", what, a.body, len(a.body), body, len(body), a.err)
	}
}

// text is content that compresses well.
func text(size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "line %d of a text\n", i)
	}
	return b.String()[:size]
}

// client asks on a connection of its own; it may be used by another goroutine
// than the test's.
type client struct {
	testing.TB
	conn   net.Conn
	reader *bufio.Reader
}

func dialed(r *rig) *client {
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		panic(err)
	}
	r.Cleanup(func() { conn.Close() })
	return &client{r.TB, conn, bufio.NewReader(conn)}
}

func (c *client) get(target string, fields ...string) answer {
	return converse(c, c.conn, c.reader, http.MethodGet, target, fields...)
}

// slowReader has got the beginning of a large response and reads no further.
type slowReader struct {
	testing.TB
	conn net.Conn
	body io.ReadCloser
	got  int64
}

func newSlowReader(t testing.TB, r *rig, target string) *slowReader {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", target)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.CopyN(io.Discard, response.Body, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return &slowReader{t, conn, response.Body, n}
}

// rest reads on after something has happened, and says how much came altogether.
func (s *slowReader) rest(happens func()) int64 {
	s.Helper()
	happens()
	n, err := io.Copy(io.Discard, s.body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) {
		s.Error(err)
	}
	return s.got + n
}
