package httpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"
)

// maxHead is the longest request head (request line and header fields), in
// bytes. It is also the read buffer of a connection.
const maxHead = 64 << 10

// writeBuffer is the write buffer of a connection, in bytes: a small response
// goes out in one piece.
const writeBuffer = 8 << 10

// Handler answers one request.
type Handler func(x *Exchange)

// Refuser answers a request that did not get as far as a handler.
type Refuser func(ctx *fasthttp.RequestCtx, status int, reason string)

// Server accepts connections and runs a Handler for each request.
type Server struct {
	http      *fasthttp.Server
	exchanges sync.Pool
	handler   Handler
	shortcut  Shortcut
	refuse    Refuser
	log       *slog.Logger
	door      door

	mu        sync.Mutex
	listeners []*connections
}

// NewServer makes a server; Serve starts it.
func NewServer(handler Handler, refuse Refuser, log *slog.Logger) *Server {
	s := &Server{handler: handler, refuse: refuse, log: log}
	s.door.log = log
	s.exchanges.New = func() any { return new(Exchange) }
	s.http = &fasthttp.Server{
		Handler:                       s.handle,
		ErrorHandler:                  s.failed,
		Logger:                        quiet{log},
		ReadBufferSize:                maxHead,
		WriteBufferSize:               writeBuffer,
		ReadTimeout:                   headerTimeout,
		IdleTimeout:                   idleTimeout,
		Concurrency:                   1 << 20,
		StreamRequestBody:             true,
		MaxRequestBodySize:            prefetch,
		DisablePreParseMultipartForm:  true,
		DisableHeaderNamesNormalizing: true,
		NoDefaultServerHeader:         true,
		NoDefaultContentType:          true,
		CloseOnShutdown:               true,
		SecureErrorLogMessage:         true,
		LazyRequestTime:               true,
		KeepHijackedConns:             true, // see Exchange.TakeOver
	}
	return s
}

// UseShortcut has requests tried there first; it is called before Serve.
func (s *Server) UseShortcut(shortcut Shortcut) { s.shortcut = shortcut }

// Serve accepts connections until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	c := &connections{Listener: l, shortcut: s.shortcut, exchanges: &s.exchanges, acceptor: acceptor{door: &s.door}, inHTTP: map[*Conn]struct{}{}}
	s.door.keepSpare()
	s.mu.Lock()
	s.listeners = append(s.listeners, c)
	s.mu.Unlock()
	return s.http.Serve(c)
}

// Shutdown stops accepting and waits until the requests under way have been
// answered, or ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	for _, l := range s.listeners {
		l.shutdown()
	}
	s.mu.Unlock()
	return s.http.ShutdownWithContext(ctx)
}

// Open is the number of connections.
func (s *Server) Open() int { return int(s.http.GetOpenConnectionsCount()) }

func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	conn, ok := ctx.Conn().(*Conn)
	if !ok {
		panic("httpd: connection did not come through the server's listener")
	}
	conn.serving.Store(true)
	defer conn.serving.Store(false)
	x := s.exchanges.Get().(*Exchange)
	if err := x.parse(ctx, conn); err != nil {
		s.reject(ctx, err)
	} else {
		s.handler(x)
		x.gather()
		conn.clean = x.fresh()
		conn.settle(x)
	}
	x.Ctx, x.Conn = nil, nil
	s.exchanges.Put(x)
}

func (s *Server) reject(ctx *fasthttp.RequestCtx, err error) {
	status, reason := http.StatusBadRequest, err.Error()
	var p *ParseError
	if errors.As(err, &p) {
		status = p.Status
	}
	s.refuse(ctx, status, reason)
	ctx.SetConnectionClose()
}

// failed answers what fasthttp could not parse.
func (s *Server) failed(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	switch {
	case errors.As(err, &small):
		if tooLongTarget(ctx) {
			s.refuse(ctx, http.StatusRequestURITooLong, "request target too long")
		} else {
			s.refuse(ctx, http.StatusRequestHeaderFieldsTooLarge, "request headers too large")
		}
	case errors.As(err, &network) && network.Timeout():
		s.refuse(ctx, http.StatusRequestTimeout, "the request did not arrive in time")
	case strings.Contains(err.Error(), "unsupported http version"):
		s.refuse(ctx, http.StatusHTTPVersionNotSupported, "this server speaks HTTP/1.0 and HTTP/1.1")
	default:
		s.refuse(ctx, http.StatusBadRequest, "malformed request")
	}
}

// tooLongTarget tells a long request line from many header fields: its end
// had been found when the buffer was full.
func tooLongTarget(ctx *fasthttp.RequestCtx) bool {
	return len(ctx.Request.Header.RequestURI()) == 0
}

// quiet passes on what fasthttp has to say about connections at debug level:
// clients that vanish are no news.
type quiet struct{ log *slog.Logger }

func (q quiet) Printf(format string, args ...any) {
	if q.log.Enabled(context.Background(), slog.LevelDebug) {
		q.log.Debug("connection", "message", strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
