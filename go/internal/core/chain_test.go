package core

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passenger/go/internal/config"
	"passenger/go/internal/dispatch"
	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
	"passenger/go/internal/link/linktest"
	"passenger/go/internal/respcache"
	"passenger/go/internal/spool"
)

// rig is an engine without Ruby: a real listener, the real chain, stand-in workers.
type rig struct {
	testing.TB
	engine *Engine
	addr   string
	worker *linktest.Worker
}

// newRig serves with one stand-in worker that answers with the frames of answer.
func newRig(t testing.TB, answer func(message []byte, id uint64) []byte) *rig {
	t.Helper()
	return newFileRig(t, answer, nil)
}

// newFileRig is newRig with a file that goes along with every answer.
func newFileRig(t testing.TB, answer func(message []byte, id uint64) []byte, file *os.File) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	e := &Engine{options: config.Options{DataBufferDir: t.TempDir(), Compression: true, GzipLevel: 5, BrotliLevel: 4, CompressionMinSize: 1000}, log: log, supervisor: &supervisor{}}
	e.calls.New = func() any { return dispatch.NewCall() }
	e.dispatcher = dispatch.New(dispatch.Options{
		Spool:    spool.Limits{Memory: spoolMemory, File: spoolFile, Dir: t.TempDir()},
		Log:      log,
		Pressure: func() {},
	})
	g, err := e.dispatcher.NewGeneration(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	seat, peers, err := g.NewSeat(1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	w := &linktest.Worker{Queue: g.Queue().WorkersEnd(), Slot: peers[0], Board: g.Board(), Index: seat.Slots()[0], Answer: answer, File: file, Given: make(chan *os.File, 1)}
	var running sync.WaitGroup
	running.Go(func() {
		w.Run()
		peers[0].Close()
	})
	seat.Ready()
	e.dispatcher.Serve(g)
	e.cache = respcache.New(respcache.Options{Log: log})
	e.server = httpd.NewServer(e.chain(), e.refuse, log)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() { e.server.Serve(l) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := e.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		g.Drain()
		running.Wait()
		seat.Close()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{t, e, l.Addr().String(), w}
}

func (r *rig) dial() net.Conn {
	r.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	r.Cleanup(func() { c.Close() })
	return c
}

// ask sends raw bytes and reads the response to a request with the method.
func (r *rig) ask(method, request string) (*http.Response, string) {
	r.Helper()
	c := r.dial()
	if _, err := io.WriteString(c, request); err != nil {
		r.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		r.Fatalf("%q: %v", request, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.Fatalf("%q: body: %v", request, err)
	}
	return response, string(body)
}

// reply makes a complete frame.
func reply(status int, headers link.Headers, body string) func([]byte, uint64) []byte {
	return func(_ []byte, id uint64) []byte {
		return link.AppendFrame(nil, link.FrameComplete, status, id, link.HeadPayload(headers, []byte(body)))
	}
}

// echo answers with what the worker has been told: the environment and the body.
func echo(message []byte, id uint64) []byte {
	p, err := link.ParseRequest(message)
	var b strings.Builder
	if err != nil {
		b.WriteString(err.Error())
	} else {
		for i := 1; i < link.EnvKeyCount; i++ {
			if v, ok := p.Env[link.EnvKey(i).String()]; ok {
				b.WriteString(link.EnvKey(i).String() + "=" + v + "\n")
				delete(p.Env, link.EnvKey(i).String())
			}
		}
		for k, v := range p.Env {
			b.WriteString(k + "=" + v + "\n")
		}
		b.WriteString("fd=" + strconv.FormatBool(p.BodyInFD) + " length=" + strconv.FormatUint(p.BodyLength, 10) + " body=" + string(p.Body))
	}
	return link.AppendFrame(nil, link.FrameComplete, 200, id, link.HeadPayload(link.AppendHeader(nil, "Content-Type", "text/plain"), []byte(b.String())))
}

func TestTheAppLearnsWhatWasAsked(t *testing.T) {
	r := newRig(t, echo)
	for request, wants := range map[string][]string{
		"GET /%65nv//x/../y?a=%20b HTTP/1.1\r\nHost: example.org:81\r\n\r\n":                               {"PATH_INFO=/%65nv//x/../y\n", "QUERY_STRING=a=%20b\n", "REQUEST_URI=/%65nv//x/../y?a=%20b\n", "SERVER_NAME=example.org\n", "SERVER_PORT=81\n", "HTTP_HOST=example.org:81\n", "REMOTE_ADDR=127.0.0.1\n"},
		"GET http://real.example/p HTTP/1.1\r\nHost: other\r\n\r\n":                                        {"HTTP_HOST=real.example\n", "SERVER_NAME=real.example\n", "SERVER_PORT=80\n", "PATH_INFO=/p\n", "REQUEST_URI=/p\n"},
		"GET / HTTP/1.1\r\nHost: [::1]:3000\r\n\r\n":                                                       {"SERVER_NAME=[::1]\n", "SERVER_PORT=3000\n"},
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n":                                                            {"REQUEST_METHOD=OPTIONS\n", "REQUEST_URI=*\n"},
		"GET / HTTP/1.0\r\n\r\n":                                                                           {"SERVER_PROTOCOL=HTTP/1.0\n", "SERVER_NAME=127.0.0.1\n"},
		"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\nCookie: a=1\r\nCookie: b=\"2; x\"\r\n\r\n":       {"HTTP_X_A=1,2\n", "HTTP_COOKIE=a=1; b=\"2; x\"\n"},
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n": {"CONTENT_LENGTH=5\n", "fd=false length=5 body=abcde"},
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n":                                          {"CONTENT_LENGTH=0\n", "length=0"},
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: x/y\r\nContent-Length: 3\r\n\r\nabc":                  {"CONTENT_TYPE=x/y\n", "CONTENT_LENGTH=3\n", "body=abc"},
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc":                                        {"CONTENT_LENGTH=3\n", "body=abc"},
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000):       {"fd=true length=100000"},
	} {
		method, _, _ := strings.Cut(request, " ")
		response, body := r.ask(method, request)
		for _, want := range wants {
			if response.StatusCode != 200 || !strings.Contains(body, want) {
				t.Errorf("%.100q: %d, no %q in\n%.600s", request, response.StatusCode, want, body)
			}
		}
	}
}

func TestHeadersThatCouldDeceiveTheAppAreDropped(t *testing.T) {
	r := newRig(t, echo)
	_, body := r.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.2.3.4\r\nProxy: evil\r\nVersion: 9\r\nX-Ok: yes\r\n\r\n")
	for _, never := range []string{"1.2.3.4", "evil", "HTTP_VERSION=9"} {
		if strings.Contains(body, never) {
			t.Errorf("the app sees %s in\n%s", never, body)
		}
	}
	if !strings.Contains(body, "HTTP_X_OK=yes\n") {
		t.Errorf("an honest header is missing in\n%s", body)
	}
}

func TestRequestsThatCannotBeServedAreRefused(t *testing.T) {
	r := newRig(t, echo)
	for request, status := range map[string]int{
		"GET / HTTP/1.1\r\n\r\n":                                                                         400,
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":                                                   400,
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n":                                                            400,
		"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n":                                                            400,
		"GET / HTTP/1.1\r\nHost : a\r\n\r\n":                                                             400,
		"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n":                                                400,
		"GET / HTTP/3.0\r\nHost: a\r\n\r\n":                                                              505,
		"GET nonsense HTTP/1.1\r\nHost: a\r\n\r\n":                                                       400,
		"GET * HTTP/1.1\r\nHost: a\r\n\r\n":                                                              400,
		"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n":                                                       405,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n":                   400,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n":                                       400,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n":                         400,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n":                         400,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n": 400,
		"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 70000) + "\r\n\r\n":                     431,
		"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 300) + "\r\n":                       431,
	} {
		response, _ := r.ask("GET", request)
		if response.StatusCode != status {
			t.Errorf("%.80q gets %d instead of %d", request, response.StatusCode, status)
		}
	}
}

func TestBodiesThatDisagreeWithTheirLengthNeverGoOut(t *testing.T) {
	for name, length := range map[string]string{"too short": "100", "too long": "2", "not a number": "five"} {
		r := newRig(t, reply(200, link.AppendHeader(nil, "Content-Length", length), "hello"))
		if response, _ := r.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); response.StatusCode != 502 {
			t.Errorf("%s: status %d", name, response.StatusCode)
		}
	}
}

func TestResponsesWithoutBodyKeepTheirLength(t *testing.T) {
	r := newRig(t, reply(200, link.AppendHeader(nil, "content-length", "1234"), ""))
	if response, body := r.ask("HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"); response.ContentLength != 1234 || body != "" {
		t.Errorf("HEAD: length %d, body %q", response.ContentLength, body)
	}
	for _, status := range []int{204, 304} {
		r := newRig(t, reply(status, nil, "must not go out"))
		c := r.dial()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		raw, _ := io.ReadAll(c)
		if bytes.Contains(raw, []byte("must not")) || bytes.Count(raw, []byte("HTTP/1.1 "+strconv.Itoa(status))) != 2 {
			t.Errorf("%d: %q", status, raw)
		}
	}
}

func TestAnInterimStatusIsNoResponse(t *testing.T) {
	r := newRig(t, reply(103, nil, ""))
	if response, _ := r.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); response.StatusCode != 502 {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestHTTP10GetsAStreamUntilTheConnectionEnds(t *testing.T) {
	r := newRig(t, func(_ []byte, id uint64) []byte {
		f := link.AppendFrame(nil, link.FrameHead, 200, id, link.HeadPayload(nil, []byte("one ")))
		f = link.AppendFrame(f, link.FrameBody, 0, id, []byte("two"))
		return link.AppendFrame(f, link.FrameEnd, 0, id, nil)
	})
	c := r.dial()
	io.WriteString(c, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	raw, err := io.ReadAll(c)
	if err != nil || !bytes.HasSuffix(raw, []byte("\r\n\r\none two")) || bytes.Contains(raw, []byte("chunked")) {
		t.Errorf("read %q, %v", raw, err)
	}
	response, body := r.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if body != "one two" || len(response.TransferEncoding) == 0 {
		t.Errorf("HTTP/1.1: %q by %v", body, response.TransferEncoding)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	r := newRig(t, echo)
	c := r.dial()
	for i := range 20 {
		io.WriteString(c, "GET /"+strconv.Itoa(i)+" HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	reader := bufio.NewReader(c)
	for i := range 20 {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		if !strings.Contains(string(body), "PATH_INFO=/"+strconv.Itoa(i)+"\n") {
			t.Errorf("response %d is for another request:\n%s", i, body)
		}
	}
}

func TestFilesThatTheAppNamesAreSent(t *testing.T) {
	path := t.TempDir() + "/file"
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() }) // after the worker
	os.Remove(path)                    // the descriptor counts, not the name
	answer := func(_ []byte, id uint64) []byte {
		return link.AppendFrame(nil, link.FrameFile, 200, id, link.HeadPayload(nil, []byte(path)))
	}
	r := newFileRig(t, answer, file)
	if response, body := r.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); response.ContentLength != int64(len(content)) || body != string(content) {
		t.Errorf("length %d, body of %d bytes", response.ContentLength, len(body))
	}
	directory, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { directory.Close() })
	r = newFileRig(t, answer, directory)
	if response, _ := r.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); response.StatusCode != 502 {
		t.Errorf("a directory gets %d", response.StatusCode)
	}
	r = newRig(t, answer)
	if response, _ := r.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); response.StatusCode != 502 {
		t.Errorf("a file frame without a descriptor gets %d", response.StatusCode)
	}
}

func TestAConnectionEndsForItsClientWhoeverElseHasTheSocket(t *testing.T) {
	kept := make(chan int, 1)
	workers := make(chan *linktest.Worker, 1)
	r := newRig(t, func(_ []byte, id uint64) []byte {
		slot := int((<-workers).Slot.Fd())
		unix.Write(slot, link.AppendFrame(nil, link.FrameOffer, 200, id, link.HeadPayload(nil, []byte{2, 0, 0, 0, 0, 0, 0, 0})))
		notice, oob := make([]byte, 16), make([]byte, 64)
		_, n, _, _, err := unix.Recvmsg(slot, notice, oob, 0)
		messages, _ := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(messages) != 1 {
			return nil
		}
		fds, _ := unix.ParseUnixRights(&messages[0])
		unix.Write(fds[0], []byte("ab"))
		kept <- fds[0]
		f := link.AppendFrame(nil, link.FrameSent, 0, id, []byte{2, 0, 0, 0, 0, 0, 0, 0})
		return link.AppendFrame(f, link.FrameEnd, 0, id, nil)
	})
	workers <- r.worker
	c := r.dial()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	raw, err := io.ReadAll(c) // ends with the connection
	if err != nil || !bytes.HasSuffix(raw, []byte("\r\n\r\nab")) {
		t.Errorf("read %q, %v", raw, err)
	}
	unix.Close(<-kept)
}

func TestAnUploadThatCannotBeBufferedIsA507(t *testing.T) {
	r := newRig(t, echo)
	if err := os.RemoveAll(r.engine.options.DataBufferDir); err != nil {
		t.Fatal(err)
	}
	response, _ := r.ask("POST", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 100000))
	if response.StatusCode != http.StatusInsufficientStorage || !response.Close {
		t.Errorf("status %d, connection closed: %v", response.StatusCode, response.Close)
	}
	if response, _ := r.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); response.StatusCode != 200 {
		t.Errorf("the next request gets %d", response.StatusCode)
	}
}

// hotRequest is a small dynamic request as browsers send it.
const hotRequest = "GET /posts?page=2 HTTP/1.1\r\nHost: example.org\r\nUser-Agent: test\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nCookie: _session=abcdef\r\nX-Custom: 1\r\n\r\n"

// maxAllocations is what a small dynamic request may allocate in the engine.
const maxAllocations = 0

func TestASmallDynamicRequestAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	exchange := hotLoop(t)
	for range 200 { // fill the pools
		exchange()
	}
	if n := testing.AllocsPerRun(2000, exchange); n > maxAllocations {
		t.Errorf("%v allocations per request, %d are allowed", n, maxAllocations)
	}
}

func BenchmarkSmallDynamicRequest(b *testing.B) {
	exchange := hotLoop(b)
	b.ReportAllocs()
	for b.Loop() {
		exchange()
	}
}

// hotLoop returns a function that does one request over a kept connection,
// without allocating on its own.
func hotLoop(t testing.TB) func() {
	frames := reply(200, link.AppendHeader(link.AppendHeader(nil, "content-type", "text/plain"), "x-runtime", "0.001"), "hello world")(nil, 0)
	r := newRig(t, func(_ []byte, id uint64) []byte {
		for i := range 8 {
			frames[8+i] = byte(id >> (8 * i))
		}
		return frames
	})
	c := r.dial()
	request := []byte(hotRequest)
	buf := make([]byte, 4096)
	return func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		n := 0
		for !bytes.HasSuffix(buf[:n], []byte("hello world")) {
			k, err := c.Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
	}
}
