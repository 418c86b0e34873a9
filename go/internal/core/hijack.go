package core

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"

	"passenger/go/internal/dispatch"
	"passenger/go/internal/httpd"
	"passenger/go/internal/tunnel"
)

// respondHijacked joins the client to the socket of an app that has taken its
// connection over. Either the app writes everything, or the head goes out here
// and the app writes what follows.
func (e *Engine) respondHijacked(x *httpd.Exchange, c *dispatch.Call) error {
	worker, err := processBehind(c.Socket)
	if err != nil {
		c.Close()
		return err
	}
	var head []byte
	if c.Status != 0 {
		if head, err = hijackHead(c); err != nil {
			c.Close()
			return err
		}
		x.Ctx.SetStatusCode(c.Status)
	}
	response := c.Status != 0 && c.Status != http.StatusSwitchingProtocols
	socket := c.Socket
	c.Socket = nil
	return x.TakeOver(func(conn *httpd.Conn, early []byte) {
		err := e.tunnels.Open(tunnel.Ends{
			Client: conn.Raw(), Close: conn.Close, App: socket, Head: head, Early: early, Worker: worker, Response: response,
		})
		if err != nil {
			e.log.Error("a connection that the application has taken over cannot be joined to it", "error", err)
		}
	}, func() { socket.Close() })
}

// processBehind is the id of the process that has made a pair of sockets.
func processBehind(socket *os.File) (uint32, error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if peerErr != nil {
		return 0, fmt.Errorf("the application has hijacked a connection with something that is no socket: %w", peerErr)
	}
	return uint32(peer.Pid), nil
}

var (
	headerConnection = []byte("connection")
	headerUpgrade    = []byte("upgrade")
	headerStatus     = []byte("HTTP/1.1 ")
)

// hijackHead is the head of a response whose body the app writes by itself, with
// the framing that it has chosen. Unless the protocol changes, the end of the
// connection is the end of the response.
func hijackHead(c *dispatch.Call) ([]byte, error) {
	b := append([]byte(nil), headerStatus...)
	b = strconv.AppendInt(b, int64(c.Status), 10)
	b = append(append(append(b, ' '), fasthttp.StatusMessage(c.Status)...), "\r\nDate: "...)
	b = append(fasthttp.AppendHTTPDate(b, time.Now()), "\r\n"...)
	switching, connection := c.Status == http.StatusSwitchingProtocols, false
	for headers := c.Headers; ; {
		name, value, rest, ok := headers.Next()
		if !ok {
			break
		}
		headers = rest
		if bytes.ContainsAny(name, "\r\n\x00: ") || bytes.ContainsAny(value, "\r\n\x00") {
			return nil, fmt.Errorf("the application gave the header %q: %q, which would be read as something else", name, value)
		}
		switch {
		case bytes.EqualFold(name, headerDate), bytes.EqualFold(name, headerXSendfile), bytes.EqualFold(name, headerXAccelRedirect):
			continue
		case bytes.EqualFold(name, headerConnection):
			if !switching {
				continue
			}
			connection = true
		case bytes.EqualFold(name, headerUpgrade):
			if !switching {
				continue
			}
		}
		b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
	}
	switch {
	case !switching:
		b = append(b, "Connection: close\r\n"...)
	case !connection:
		b = append(b, "Connection: Upgrade\r\n"...)
	}
	return append(b, "\r\n"...), nil
}
