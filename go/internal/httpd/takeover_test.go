package httpd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// serveTakeover serves with a handler and returns a connection to it.
func serveTakeover(t *testing.T, handler Handler) (*Server, *net.TCPConn) {
	t.Helper()
	s := NewServer(handler, func(ctx *fasthttp.RequestCtx, status int, _ string) { ctx.SetStatusCode(status) }, slog.New(slog.DiscardHandler))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		s.Serve(l)
		close(ended)
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-ended
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return s, c.(*net.TCPConn)
}

const anyRequest = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func TestAConnectionIsTakenOverWithAllThatHasBeenRead(t *testing.T) {
	early := strings.Repeat("0123456789", 5000) // more than one piece, less than the server's buffer
	taken := make(chan struct {
		conn  *Conn
		early string
	}, 1)
	s, c := serveTakeover(t, func(x *Exchange) {
		err := x.TakeOver(func(conn *Conn, early []byte) {
			taken <- struct {
				conn  *Conn
				early string
			}{conn, string(early)}
		}, func() { t.Error("abandoned") })
		if err != nil {
			t.Error(err)
		}
	})
	io.WriteString(c, anyRequest+early)
	got := <-taken
	defer got.conn.Close()
	rest := make([]byte, len(early)-len(got.early))
	if _, err := io.ReadFull(got.conn.Raw(), rest); err != nil || got.early+string(rest) != early {
		t.Errorf("%d bytes early, then %d: %v", len(got.early), len(rest), err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil { // which sets no deadline any more
		t.Error(err)
	}
	io.WriteString(c, "later")
	later := make([]byte, len("later"))
	if _, err := io.ReadFull(got.conn.Raw(), later); err != nil || string(later) != "later" {
		t.Errorf("%q, %v", later, err)
	}
}

func TestAConnectionThatEndsBeforeItIsTakenOverIsAbandoned(t *testing.T) {
	first, reset, abandoned := make(chan struct{}), make(chan struct{}), make(chan struct{})
	requests := 0
	_, c := serveTakeover(t, func(x *Exchange) {
		if requests++; requests == 1 {
			x.Ctx.SetBodyString("stays in the buffer, because another request is there")
			return
		}
		close(first)
		<-reset
		x.TakeOver(func(*Conn, []byte) { t.Error("taken over") }, func() { close(abandoned) })
	})
	io.WriteString(c, anyRequest+anyRequest)
	<-first
	c.SetLinger(0)
	c.Close()
	close(reset)
	<-abandoned
}

func TestARequestWithoutAClientHasNoConnectionToTakeOver(t *testing.T) {
	result := make(chan error, 1)
	_, c := serveTakeover(t, func(x *Exchange) {
		d, err := x.Detached()
		if err != nil {
			t.Error(err)
		}
		abandoned := false
		err = d.TakeOver(func(*Conn, []byte) { t.Error("taken over") }, func() { abandoned = true })
		if !abandoned {
			t.Error("not abandoned")
		}
		result <- err
	})
	io.WriteString(c, anyRequest)
	if err := <-result; !errors.Is(err, ErrNoClient) {
		t.Error(err)
	}
}
