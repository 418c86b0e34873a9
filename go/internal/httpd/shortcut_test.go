package httpd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func TestAShutdownLetsAResponseOfAShortcutFinish(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	s := NewServer(func(x *Exchange) {}, func(ctx *fasthttp.RequestCtx, status int, reason string) { ctx.Error(reason, status) }, slog.New(slog.DiscardHandler))
	begun := make(chan struct{}, 1)
	s.UseShortcut(func(_ *Exchange, _, head []byte) (_, _ []byte, ok bool) {
		begun <- struct{}{}
		return append(head, "HTTP/1.1 200 OK\r\n\r\n"...), body, true
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-begun
	first := make([]byte, 1) // it is being written, and does not fit into the buffers of the sockets
	if _, err := io.ReadFull(c, first); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		stopped <- s.Shutdown(ctx)
	}()
	if err := <-served; err != nil { // it accepts no more
		t.Fatal(err)
	}
	rest, err := io.ReadAll(c)
	if want := len("HTTP/1.1 200 OK\r\n\r\n") + len(body) - 1; err != nil || len(rest) != want {
		t.Errorf("%d bytes of %d, %v", len(rest), want, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestAConnectionThatIsIdleAfterAShortcutIsClosedWithoutAWord(t *testing.T) {
	s := NewServer(func(x *Exchange) {}, func(ctx *fasthttp.RequestCtx, status int, reason string) { ctx.Error(reason, status) }, slog.New(slog.DiscardHandler))
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	s.UseShortcut(func(_ *Exchange, _, head []byte) (_, _ []byte, ok bool) { return append(head, answer...), nil, true })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, len(answer))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil { // which bounds the time of idle connections
		t.Error(err)
	}
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
