package httpd

import (
	"log/slog"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"passenger/go/internal/link"
)

// Detached makes a request like x that no client waits for, without the
// fields named. It shares no memory with x and may outlive it. Its connection
// has the addresses of the client's, but nothing can be read from it, written
// to it or lent from it. It speaks HTTP/1.1, so that no answer needs to take the
// connection over; there is no body. Who has it answered closes the response's
// body stream.
func (x *Exchange) Detached(without ...link.EnvKey) (*Exchange, error) {
	conn := &Conn{
		Conn:       nobody{x.Conn.LocalAddr(), x.Conn.RemoteAddr()},
		raw:        &rawIO{conn: nowhere{}},
		owner:      &connections{},
		remoteAddr: x.Conn.remoteAddr,
		remotePort: x.Conn.remotePort,
		localAddr:  x.Conn.localAddr,
		localPort:  x.Conn.localPort,
	}
	ctx := new(fasthttp.RequestCtx)
	ctx.Init2(conn, quiet{slog.New(slog.DiscardHandler)}, false)
	x.Ctx.Request.Header.CopyTo(&ctx.Request.Header)
	ctx.Request.Header.SetProtocol("HTTP/1.1")
	ctx.Response.Header.DisableNormalizing()
	ctx.Response.Header.SetNoDefaultContentType(true)
	d := new(Exchange)
	if err := d.parse(ctx, conn); err != nil {
		return nil, err
	}
	d.HTTPS, d.Port = x.HTTPS, x.Port
	d.drop(without)
	return d, nil
}

// drop removes all fields of the names given.
func (x *Exchange) drop(keys []link.EnvKey) {
	place := make([]int, len(x.Fields)) // where each field goes
	kept := 0
	for i := range x.Fields {
		if f := &x.Fields[i]; f.Key == 0 || !slices.Contains(keys, f.Key) {
			place[i] = kept
			x.Fields[kept] = *f
			kept++
		}
	}
	x.Fields = x.Fields[:kept]
	for i := range x.Fields {
		if f := &x.Fields[i]; f.Next != 0 {
			f.Next = place[f.Next]
		}
	}
}

// nobody is the connection of a client that is not there.
type nobody struct{ local, remote net.Addr }

func (nobody) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (nobody) Write([]byte) (int, error)        { return 0, net.ErrClosed }
func (nobody) Close() error                     { return nil }
func (n nobody) LocalAddr() net.Addr            { return n.local }
func (n nobody) RemoteAddr() net.Addr           { return n.remote }
func (nobody) SetDeadline(time.Time) error      { return net.ErrClosed }
func (nobody) SetReadDeadline(time.Time) error  { return net.ErrClosed }
func (nobody) SetWriteDeadline(time.Time) error { return net.ErrClosed }

// nowhere is the socket of that connection.
type nowhere struct{}

var _ syscall.RawConn = nowhere{}

func (nowhere) Control(func(uintptr)) error    { return net.ErrClosed }
func (nowhere) Read(func(uintptr) bool) error  { return net.ErrClosed }
func (nowhere) Write(func(uintptr) bool) error { return net.ErrClosed }
