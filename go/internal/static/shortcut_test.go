package static

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/httpd"
)

// raw sends a request on a connection of its own and returns status line,
// sorted header lines without Date, and body.
func raw(t *testing.T, addr, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	var seen strings.Builder
	reader := bufio.NewReader(io.TeeReader(c, &seen))
	response, err := http.ReadResponse(reader, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	head, _, _ := strings.Cut(seen.String(), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	fields := slices.DeleteFunc(lines[1:], func(line string) bool { return strings.HasPrefix(line, "Date: ") })
	slices.Sort(fields)
	return lines[0] + "\n" + strings.Join(fields, "\n") + "\n\n" + string(body)
}

func TestAShortcutAnswersAsTheHandlerDoes(t *testing.T) {
	r := newRig(t, nil)
	plain := r.serve(httpd.NewServer(r.files.Handler(func(x *httpd.Exchange) { x.Ctx.SetBodyString(fromApp) }),
		func(ctx *fasthttp.RequestCtx, status int, reason string) { ctx.Error(reason, status) }, slog.New(slog.DiscardHandler)))
	for name, content := range map[string]string{
		"photo.jpg": "picture", "empty.txt": "", "style.css": text(5000), "assets/app-0123abcd.css": text(9000), "assets/app-0123abcd.css.gz": "twin",
		"about.html": text(700), "large.jpg": strings.Repeat("x", 200_000), "a b.txt": "blank",
	} {
		r.write(name, content)
	}
	etag := r.get("/photo.jpg").Header.Get("ETag")
	modified := r.get("/photo.jpg").Header.Get("Last-Modified")
	cut, whole := 0, 0
	for _, target := range []string{"/photo.jpg", "/empty.txt", "/style.css", "/assets/app-0123abcd.css", "/about", "/about.html?q=1", "/large.jpg", "/a%20b.txt",
		"/blog/photo.jpg", "/nothing", "/../photo.jpg", "/.env"} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, fields := range []string{
				"", "Accept-Encoding: gzip\r\n", "Accept-Encoding: br, gzip;q=0.5\r\n", "Accept-Encoding: identity;q=0\r\n",
				"If-None-Match: " + etag + "\r\n", "If-None-Match: *\r\n", "If-None-Match: \"other\"\r\n", "If-None-Match:\r\n",
				"If-Modified-Since: " + modified + "\r\n", "If-Modified-Since: nonsense\r\n", "If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT\r\n",
				"If-Match: " + etag + "\r\n", "If-Unmodified-Since: " + modified + "\r\n", "Range: bytes=1-2\r\n", "Range: bytes=1-2\r\nIf-Range: " + etag + "\r\n",
				"Connection: keep-alive\r\n", "Connection: close\r\n", "Expect: 100-continue\r\n", "Upgrade: websocket\r\nConnection: Upgrade\r\n",
				"Content-Length: 0\r\n", "Cookie: a=b\r\nCookie: c=d\r\n", "X_Y: z\r\n",
			} {
				request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: example.org\r\n%s\r\n", method, target, fields)
				raw(t, plain, request) // what it asks for is in memory now, if it may be
				want := raw(t, plain, request)
				before := r.cut.Load()
				if got := raw(t, r.addr, request); got != want {
					t.Errorf("%q\nthe handler: %.500s\nthe shortcut: %.500s", request, want, got)
				}
				if r.cut.Load() > before {
					cut++
				} else {
					whole++
				}
			}
		}
	}
	if cut < 150 || whole < 150 {
		t.Errorf("%d requests have taken the shortcut, %d have not", cut, whole)
	}
}

func TestRequestsThatAreOutOfOrderDoNotTakeTheShortcut(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.jpg", "content")
	r.get("/a.jpg")
	before := r.cut.Load()
	for request, status := range map[string]string{
		"GET /a.jpg HTTP/1.0\r\n\r\n":                                                                       "200",
		"GET /a.jpg HTTP/1.1\r\n\r\n":                                                                       "400", // no Host
		"GET /a.jpg HTTP/1.1\r\nHost: a b\r\n\r\n":                                                          "400",
		"GET /a.jpg HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n":                                              "400",
		"GET /a.jpg HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx":        "400",
		"GET http://a/a.jpg HTTP/1.1\r\nHost: a\r\n\r\n":                                                    "200",
		"GET /a.jpg  HTTP/1.1\r\nHost: a\r\n\r\n":                                                           "505",
		"POST /a.jpg HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx":                                     "200",
		"GET /a.jpg HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy":                                     "200",
		"GET /a.jpg HTTP/1.1\r\nHost: a\r\n\r\nGET /a.jpg HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n": "200",
	} {
		got := raw(t, r.addr, request)
		if !strings.HasPrefix(got, "HTTP/1.1 "+status) && !strings.HasPrefix(got, "HTTP/1.0 "+status) {
			t.Errorf("%q: %.60s", request, got)
		}
	}
	if n := r.cut.Load() - before; n > 1 { // the second of the two that came together may
		t.Errorf("%d have taken it", n)
	}
}

// Requests of all kinds on one connection, in pieces of all sizes.
func TestAConnectionStaysInStepHoweverItsRequestsArrive(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.jpg", "content")
	r.get("/a.jpg")
	r.answerWith(func(x *httpd.Exchange) {
		var body []byte
		if x.HasBody() {
			var err error
			if body, err = io.ReadAll(x.Ctx.RequestBodyStream()); err != nil {
				t.Error(err)
			}
		}
		fmt.Fprintf(x.Ctx, "%s %s %s", x.Method, x.Path, body)
	})
	hot := "GET /a.jpg HTTP/1.1\r\nHost: a\r\n\r\n"
	var requests strings.Builder
	var answers []string
	for i := range 60 {
		switch i % 6 {
		case 0, 1, 3:
			requests.WriteString(hot)
			answers = append(answers, "content")
		case 2:
			fmt.Fprintf(&requests, "POST /p%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", i, len(hot), hot) // a body like a request
			answers = append(answers, fmt.Sprintf("POST /p%d %s", i, hot))
		case 4:
			fmt.Fprintf(&requests, "GET /g%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
			answers = append(answers, fmt.Sprintf("GET /g%d ", i))
		case 5:
			fmt.Fprintf(&requests, "PUT /c%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", i, len(hot), hot)
			answers = append(answers, fmt.Sprintf("PUT /c%d %s", i, hot))
		}
	}
	for _, piece := range []int{1, 7, len(hot), 100, 1000, 1 << 20} {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(30 * time.Second))
		go func() {
			for rest := requests.String(); len(rest) > 0; {
				n := min(piece, len(rest))
				if _, err := io.WriteString(c, rest[:n]); err != nil {
					return // the reader reports what is missing
				}
				rest = rest[n:]
			}
		}()
		reader := bufio.NewReader(c)
		for i, want := range answers {
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatalf("pieces of %d, response %d: %v", piece, i, err)
			}
			body, err := io.ReadAll(response.Body)
			if err != nil || string(body) != want {
				t.Fatalf("pieces of %d, response %d: %q instead of %q, %v", piece, i, body, want, err)
			}
		}
		c.Close()
	}
}

func TestTheShortcutIsFoundAgainAfterARequestForTheApp(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.jpg", "content")
	c := dialed(r)
	c.get("/a.jpg") // into memory
	before := r.cut.Load()
	for range 5 {
		c.get("/page").says(t, "the app", fromApp)
		c.get("/a.jpg").says(t, "the file", "content")
	}
	if n := r.cut.Load() - before; n != 5 {
		t.Errorf("%d of 5 requests have taken the shortcut", n)
	}
}

// The end of the client's stream may come with its request.
func TestAClientThatHasNothingMoreToSayGetsItsAnswerAndTheEnd(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.jpg", "content")
	r.get("/a.jpg")
	before := r.cut.Load()
	for i := range 300 {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(c, "GET /a.jpg HTTP/1.1\r\nHost: a\r\n\r\n")
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(c)
		if err != nil || !strings.HasSuffix(string(answer), "\r\n\r\ncontent") {
			t.Fatalf("client %d: %q, %v", i, answer, err)
		}
		c.Close()
	}
	if n := r.cut.Load() - before; n != 300 {
		t.Errorf("%d of 300 have taken the shortcut", n)
	}
}
