package core

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"passenger/go/internal/compress"
	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
	"passenger/go/internal/link/linktest"
)

// offering answers every request with the offer of body, with header fields
// besides its own, and tells which notice came in return. A worker whose offer is not taken sends the body itself.
func offering(workers <-chan *linktest.Worker, notices chan<- link.Notice, body string, fields ...string) func([]byte, uint64) []byte {
	var worker *linktest.Worker
	return func(_ []byte, id uint64) []byte {
		if worker == nil {
			worker = <-workers
		}
		var length [8]byte
		binary.LittleEndian.PutUint64(length[:], uint64(len(body)))
		headers := link.AppendHeader(link.AppendHeader(nil, "Content-Type", "text/plain"), "ETag", `"x"`)
		for i := 0; i < len(fields); i += 2 {
			headers = link.AppendHeader(headers, fields[i], fields[i+1])
		}
		slot := int(worker.Slot.Fd())
		if _, err := unix.Write(slot, link.AppendFrame(nil, link.FrameOffer, 200, id, link.HeadPayload(headers, length[:]))); err != nil {
			return nil
		}
		notice, oob := make([]byte, 16), make([]byte, 64)
		n, _, _, _, err := unix.Recvmsg(slot, notice, oob, 0)
		if err != nil || n != len(notice) || binary.LittleEndian.Uint64(notice) != id {
			return nil
		}
		notices <- link.Notice(binary.LittleEndian.Uint32(notice[8:]))
		f := link.AppendFrame(nil, link.FrameSent, 0, id, make([]byte, 8))
		for part := []byte(body); len(part) > 0; {
			n := min(len(part), 10_000)
			f = link.AppendFrame(f, link.FrameBody, 0, id, part[:n])
			part = part[n:]
		}
		return link.AppendFrame(f, link.FrameEnd, 0, id, nil)
	}
}

// behind serves the rig's application through a step.
func (r *rig) behind(step func(next httpd.Handler) httpd.Handler) {
	r.Helper()
	server := httpd.NewServer(step(r.engine.forward), r.engine.refuse, slog.New(slog.DiscardHandler))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { server.Serve(l) })
	r.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			r.Error(err)
		}
		running.Wait()
	})
	r.addr = l.Addr().String()
}

// compressing is the step that reads the bodies of the app.
func compressing(next httpd.Handler) httpd.Handler {
	return compress.Handler(compress.Options{Levels: compress.Levels{Gzip: 5, Brotli: 4}, MinSize: 1000, Log: slog.New(slog.DiscardHandler)}, next)
}

func gunzip(t *testing.T, encoded string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(decoded)
}

func awaitNotice(t *testing.T, notices <-chan link.Notice, want link.Notice) {
	t.Helper()
	select {
	case got := <-notices:
		if got != want {
			t.Errorf("the worker is told %v instead of %v", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Error("the worker's offer is not answered")
	}
}

func TestAnOfferIsDeclinedWhenTheBodyIsCompressed(t *testing.T) {
	body := string(bytes.Repeat([]byte("0123456789"), 20_000))
	workers, notices := make(chan *linktest.Worker, 1), make(chan link.Notice, 1)
	r := newRig(t, offering(workers, notices, body))
	workers <- r.worker
	r.behind(compressing)
	for range 2 { // the connection and the slot are fit for another response
		response, encoded := r.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
		awaitNotice(t, notices, link.NoticeNoSocket)
		if h := response.Header; h.Get("Content-Encoding") != "gzip" || h.Get("Etag") != `W/"x"` || len(response.TransferEncoding) == 0 {
			t.Errorf("headers %v, %v", h, response.TransferEncoding)
		}
		if decoded := gunzip(t, encoded); decoded != body {
			t.Errorf("%d bytes decoded", len(decoded))
		}
	}
	if response, plain := r.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); plain != body || response.ContentLength != int64(len(body)) {
		t.Errorf("without compression: length %d, %d bytes", response.ContentLength, len(plain))
	}
	awaitNotice(t, notices, link.NoticeSocket)
}

func TestAnOfferedBodyThatMayBeKeptIsKept(t *testing.T) {
	body := string(bytes.Repeat([]byte("0123456789"), 10_000))
	workers, notices := make(chan *linktest.Worker, 1), make(chan link.Notice, 1)
	r := newRig(t, offering(workers, notices, body, "Cache-Control", "public, max-age=60"))
	workers <- r.worker
	for i, hit := range []bool{false, true, true} {
		response, got := r.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if got != body || response.ContentLength != int64(len(body)) || (response.Header.Get("Age") != "") != hit {
			t.Errorf("response %d: %d bytes, headers %v", i, len(got), response.Header)
		}
	}
	awaitNotice(t, notices, link.NoticeNoSocket)
}

func TestAnOfferOfABodyThatIsNotSentIsDeclined(t *testing.T) {
	workers, notices := make(chan *linktest.Worker, 1), make(chan link.Notice, 1)
	r := newRig(t, offering(workers, notices, "x"))
	workers <- r.worker
	r.behind(func(next httpd.Handler) httpd.Handler {
		return func(x *httpd.Exchange) {
			next(x)
			x.Ctx.Response.ResetBody() // as when the head cannot be written
		}
	})
	c := r.dial()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
		t.Fatal(err)
	}
	awaitNotice(t, notices, link.NoticeNoSocket)
}

func TestAStreamOfTheAppIsCompressed(t *testing.T) {
	r := newRig(t, func(_ []byte, id uint64) []byte {
		f := link.AppendFrame(nil, link.FrameHead, 200, id, link.HeadPayload(link.AppendHeader(nil, "content-type", "text/csv"), []byte("one,")))
		f = link.AppendFrame(f, link.FrameBody, 0, id, []byte("two"))
		return link.AppendFrame(f, link.FrameEnd, 0, id, nil)
	})
	r.behind(compressing)
	response, encoded := r.ask("GET", "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
	if response.Header.Get("Content-Encoding") != "gzip" || gunzip(t, encoded) != "one,two" {
		t.Errorf("headers %v", response.Header)
	}
	response, plain := r.ask("GET", "GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
	if response.Header.Get("Content-Encoding") != "" || plain != "one,two" {
		t.Errorf("HTTP/1.0: headers %v, %q", response.Header, plain)
	}
}

func TestAFileOfTheAppIsCompressed(t *testing.T) {
	path := t.TempDir() + "/report.csv"
	content := strings.Repeat("one,two,three\n", 10_000)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	r := newFileRig(t, func(_ []byte, id uint64) []byte {
		return link.AppendFrame(nil, link.FrameFile, 200, id, link.HeadPayload(link.AppendHeader(link.AppendHeader(nil, "content-type", "text/csv"), "etag", `"v1"`), []byte(path)))
	}, file)
	r.behind(compressing)
	request := func(headers string) string {
		return "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n" + headers + "\r\n"
	}
	response, encoded := r.ask("GET", request(""))
	h := response.Header
	etag := h.Get("ETag")
	if h.Get("Content-Encoding") != "gzip" || h.Get("Accept-Ranges") != "" || h.Get("Vary") != "Accept-Encoding" || etag != `W/"v1"` || gunzip(t, encoded) != content {
		t.Errorf("headers %v", h)
	}
	if response, _ := r.ask("GET", request("If-None-Match: "+etag+"\r\n")); response.StatusCode != http.StatusNotModified {
		t.Errorf("with the entity tag of the compressed form: %d", response.StatusCode)
	}
	if response, part := r.ask("GET", request("Range: bytes=0-2\r\n")); response.StatusCode != http.StatusPartialContent || part != "one" {
		t.Errorf("a range: %d, %q", response.StatusCode, part)
	}
	if response, whole := r.ask("GET", request("Range: bytes=0-2\r\nIf-Range: "+etag+"\r\n")); response.StatusCode != http.StatusOK || whole != content || response.Header.Get("ETag") != `"v1"` {
		t.Errorf("a range of another form: %d, %d bytes, %v", response.StatusCode, len(whole), response.Header)
	}
}
