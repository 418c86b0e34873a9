// Package core wires the engine together: it opens the listener, builds the
// chain that every request goes through, and owns the supervisor of the
// application processes.
package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"

	"passenger/go/internal/cable"
	"passenger/go/internal/compress"
	"passenger/go/internal/config"
	"passenger/go/internal/dispatch"
	"passenger/go/internal/errorpage"
	"passenger/go/internal/httpd"
	"passenger/go/internal/link"
	"passenger/go/internal/logging"
	"passenger/go/internal/respcache"
	"passenger/go/internal/spawn"
	"passenger/go/internal/spool"
	"passenger/go/internal/static"
	"passenger/go/internal/tunnel"
)

// Engine is one running server.
type Engine struct {
	options    config.Options
	log        *slog.Logger
	logFile    *os.File
	listener   net.Listener
	server     *httpd.Server
	dispatcher *dispatch.Dispatcher
	supervisor *supervisor
	pages      errorpage.Pages
	files      *static.Files
	cache      *respcache.Cache // nil: responses are not kept
	sticky     *sticky          // nil: any worker serves any client
	cable      *cable.Broker
	calls      sync.Pool
	tunnels    tunnel.Set
	notify     *notifier
	admin      administration

	sendfileDirs *static.Dirs

	stopping chan bool // true: by force
	stopOnce sync.Once
	force    sync.Once
	done     chan struct{}
}

// Start brings the server up. When it returns the port is open and the app is
// being loaded; requests wait for it.
func Start(options config.Options) (*Engine, error) {
	e := &Engine{options: options, pages: errorpage.Pages{Friendly: options.FriendlyErrorPages}, stopping: make(chan bool, 2), done: make(chan struct{})}
	e.calls.New = func() any { return dispatch.NewCall() }
	if options.NotifyFD >= 0 {
		e.notify = newNotifier(options.NotifyFD)
	}
	url, err := e.open()
	if err != nil {
		e.close()
		e.notify.close()
		return nil, err
	}
	e.dispatcher = dispatch.New(dispatch.Options{
		MaxWaiting:   options.MaxRequestQueueSize,
		MaxQueueTime: options.MaxRequestQueueTime,
		Sticky:       options.StickySessions,
		Spool:        spoolLimits(options.DataBufferDir, spoolFile),
		StreamSpool:  func(h link.Headers) spool.Limits { return streamSpoolLimits(options.DataBufferDir, h) },
		Log:          e.log,
		Pressure:     func() { e.supervisor.pressure() },
		ClientGone:   func(s *dispatch.Seat, slot int, id uint64) { e.supervisor.post(clientGone{s, slot, id}) },
	})
	var output *os.File // without a log file the app has the server's own
	if options.LogFile != "" {
		output = e.logFile
	}
	e.sendfileDirs = static.NewDirs(options.SendfileDirs)
	e.files = static.New(static.Options{
		CacheSize:   options.StaticCacheSize,
		Compression: options.Compression,
		MinSize:     options.CompressionMinSize,
		Encode:      e.levels().Bytes,
		Log:         e.log,
	}, e.site(spawn.AppFacts{}))
	e.pages.Public = e.files.ErrorPage
	if options.Turbocaching {
		e.cache = respcache.New(respcache.Options{Bytes: options.TurbocacheSize, VaryByCookie: options.VaryTurbocacheByCookie, Log: e.log})
		e.admin.responseCache = func() any { return e.cache.Status() }
		e.admin.purge = e.purge
	}
	e.sticky = newSticky(options)
	e.supervisor = newSupervisor(options, e.dispatcher, &e.tunnels, output, e.log, e.notify)
	e.supervisor.serving = e.serving
	if err := spawn.Adopting(); err != nil {
		e.log.Warn("processes whose parents die go to process 1", "error", err)
	}
	e.server = httpd.NewServer(e.chain(), e.refuse, e.log)
	e.server.UseShortcut(e.files.Shortcut)
	e.limitConnections()
	if err := e.startAdmin(url); err != nil {
		err = errors.Join(err, e.listener.Close()) // nobody serves it yet
		e.close()
		e.notify.close()
		return nil, err
	}
	e.notify.send("listening " + url)
	e.log.Info("listening", "url", url, "pid", os.Getpid())
	e.supervisor.start()
	go e.serve()
	return e, nil
}

// open opens what the server needs of the system and says under which URL it
// is reached.
func (e *Engine) open() (url string, err error) {
	if e.logFile, err = logging.Open(e.options.LogFile); err != nil {
		return "", err
	}
	e.log = logging.New(e.logFile)
	e.listener, url, err = listen(e.options)
	return url, err
}

// close closes what open has opened, but for the listener, which its server closes.
func (e *Engine) close() {
	if e.logFile != nil {
		e.logFile.Close()
	}
}

// chain builds the way of a request through the engine, outermost first.
func (e *Engine) chain() httpd.Handler {
	handler := e.forward // body buffered, put in line, sent to a worker, response sent back
	if e.cache != nil {
		handler = e.cache.Handler(handler) // responses that may be used again
	}
	if e.options.Compression {
		// what comes back, encoded; a cached response once only
		handler = compress.Handler(compress.Options{Levels: e.levels(), MinSize: e.options.CompressionMinSize, Log: e.log}, handler)
	}
	if e.files != nil {
		handler = e.files.Handler(handler) // files of the public directory, cached pages
	}
	return handler
}

// serving is called when a loading of the app begins to serve: its files are
// those that count now, and what another one has answered is forgotten.
func (e *Engine) serving(facts spawn.AppFacts) {
	e.files.Use(e.site(facts))
	if e.cache != nil {
		e.cache.Purge(respcache.Purge{All: true})
	}
}

func (e *Engine) levels() compress.Levels {
	return compress.Levels{Gzip: e.options.GzipLevel, Brotli: e.options.BrotliLevel}
}

func (e *Engine) refuse(ctx *fasthttp.RequestCtx, status int, reason string) {
	e.pages.Plain(ctx, status, reason, "")
}

// listen opens the listening socket and says under which URL it is reached.
func listen(o config.Options) (net.Listener, string, error) {
	if o.SocketFile != "" {
		l, err := listenUnix(o.SocketFile)
		return l, "unix:" + o.SocketFile, err
	}
	address := net.JoinHostPort(o.Address, strconv.Itoa(o.Port))
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, "", fmt.Errorf("%s is in use by another process; choose another port or stop that process", address)
	case errors.Is(err, syscall.EACCES):
		return nil, "", fmt.Errorf("%s may not be opened by this user; choose a port above 1023", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, "", fmt.Errorf("%s is not an address of this machine", address)
	case err != nil:
		return nil, "", fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	url := "http://" + net.JoinHostPort(o.Address, strconv.Itoa(port)) + "/"
	if port == 80 {
		url = "http://" + hostInURL(o.Address) + "/"
	}
	return l, url, nil
}

func hostInURL(host string) string {
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		return "[" + host + "]"
	}
	return host
}

// listenUnix opens a Unix socket. A socket file that nobody listens on any
// more is replaced; one that is in use is not.
func listenUnix(path string) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket == 0 {
		return nil, fmt.Errorf("%s exists and is not a socket; choose another path or remove it", path)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("the socket %s is in use by another process", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("cannot replace the stale socket %s: %w", path, err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on the socket %s: %w", path, err)
	}
	return l, nil
}

// serve runs until Stop, then winds everything down.
func (e *Engine) serve() {
	defer close(e.done)
	accepting := make(chan error, 1)
	go func() { accepting <- e.server.Serve(e.listener) }()

	code := 0
	select {
	case err := <-accepting:
		if err != nil {
			e.log.Error("the server cannot accept connections any more", "error", err)
			code = 1
		}
		accepting <- nil
	case force := <-e.stopping:
		if force {
			e.stopping <- true
		}
	}
	e.log.Info("shutting down", "deadline", e.options.ShutdownTimeout)
	e.drain()
	<-accepting
	e.stopAdmin()
	if e.options.SocketFile != "" {
		// Closing the listener has unlinked it; what is gone is no error.
		if err := os.Remove(e.options.SocketFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			e.log.Warn("cannot remove the socket file", "error", err)
		}
	}
	e.log.Info("stopped")
	e.close()
	e.notify.send("stopped " + strconv.Itoa(code))
	e.notify.close()
}

// drain lets the requests under way finish, then the processes; by force, or
// at the deadline, both end at once.
func (e *Engine) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), e.options.ShutdownTimeout)
	defer cancel()
	go func() {
		select {
		case <-e.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := e.server.Shutdown(ctx); err != nil {
		e.log.Warn("shutdown deadline reached, requests under way are broken off", "connections", e.server.Open())
		e.dispatcher.Refuse(dispatch.ErrShuttingDown)
	}
	e.supervisor.stop(ctx)
	e.tunnels.Close(ctx)
	if e.cache != nil {
		e.dispatcher.Refuse(dispatch.ErrShuttingDown) // requests of the cache's own, for which no client waits
		e.cache.Close()
	}
}

// Stop begins to wind the server down and returns at once. Requests under
// way may finish until the shutdown deadline; force ends them now.
func (e *Engine) Stop(force bool) {
	if force {
		e.force.Do(func() { e.stopping <- true })
		return
	}
	e.stopOnce.Do(func() { e.stopping <- false })
}

// Restart loads the app anew; the old processes serve until the new ones are ready.
func (e *Engine) Restart() { e.supervisor.restart("requested", "") }

// Wait returns when everything has ended.
func (e *Engine) Wait() { <-e.done }

// notifier writes progress lines to the pipe that the Ruby side reads.
type notifier struct{ file *os.File }

func newNotifier(fd int) *notifier {
	unix.CloseOnExec(fd)
	return &notifier{os.NewFile(uintptr(fd), "notify")}
}

// send writes one line. A reader that has gone is waiting for nothing.
func (n *notifier) send(line string) {
	if n != nil {
		n.file.WriteString(line + "\n")
	}
}

func (n *notifier) close() {
	if n != nil {
		n.file.Close()
	}
}
