package core

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"passenger/go/internal/dispatch"
	"passenger/go/internal/link"
)

// eventually waits for something that other goroutines bring about.
func (r *rig) eventually(what string, holds func() bool) {
	r.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("%s has not come true", what)
		}
	}
}

func TestTheRequestOfAClientThatHangsUpIsNotRun(t *testing.T) {
	hold, begun := make(chan struct{}), make(chan string, 100)
	r := newRig(t, func(message []byte, id uint64) []byte {
		p, err := link.ParseRequest(message)
		if err != nil {
			t.Error(err)
			return nil
		}
		begun <- p.Env["PATH_INFO"]
		<-hold
		return reply(200, nil, "ok")(message, id)
	})
	ask := func(path string) net.Conn {
		c := r.dial()
		if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	busy := ask("/busy")
	<-begun
	const leave = 40
	var leaving []net.Conn
	for range leave {
		leaving = append(leaving, ask("/gone"))
	}
	stays := ask("/stays")
	r.eventually("the arrival of all requests", func() bool {
		s := r.engine.dispatcher.Stats()
		return s.Waiting+s.Outstanding == leave+2
	})
	for _, c := range leaving[1:] {
		c.Close()
	}
	leaving[0].(*net.TCPConn).CloseWrite()
	// It is told nothing, and its connection is closed.
	if rest, err := io.ReadAll(leaving[0]); err != nil || len(rest) != 0 {
		t.Errorf("a client that has ended its side gets %q, %v", rest, err)
	}
	r.eventually("the end of the abandoned requests", func() bool { return r.engine.dispatcher.Stats().Abandoned == leave })
	close(hold)
	for _, c := range []net.Conn{busy, stays} {
		got := make([]byte, 15)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "HTTP/1.1 200 OK" {
			t.Errorf("a client that stays gets %q, %v", got, err)
		}
	}
	if path := <-begun; path != "/stays" || len(begun) != 0 {
		t.Errorf("%s is run, and %d more", path, len(begun))
	}
}

func TestAFullQueueAsksClientsToComeBack(t *testing.T) {
	r := newRig(t, reply(200, nil, "ok"))
	r.engine.dispatcher.Refuse(dispatch.ErrQueueFull)
	response, _ := r.ask("GET", "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" {
		t.Errorf("%d, Retry-After %q", response.StatusCode, response.Header.Get("Retry-After"))
	}
	r.engine.dispatcher.Refuse(dispatch.ErrQueueTimeout)
	response, _ = r.ask("GET", "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if response.StatusCode != http.StatusGatewayTimeout || response.Header.Get("Retry-After") != "" {
		t.Errorf("%d, Retry-After %q", response.StatusCode, response.Header.Get("Retry-After"))
	}
	r.engine.dispatcher.Accept()
}
