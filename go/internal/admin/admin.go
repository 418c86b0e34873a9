// Package admin is the engine's administration interface: a directory by which
// tools find the running server, and an HTTP API on a Unix socket in it. Both
// are described in docs/admin-api.md.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Options of the interface.
type Options struct {
	// RegistryDir is where the instance directory is made (Passenger's
	// instance_registry_dir). It must exist.
	RegistryDir    string
	Version        string // of the server
	ServerSoftware string
	AppRoot        string // of the application that is served
	Environment    string
	Sockets        []Socket // further ones
	// Status makes the answer to GET /status: whatever encoding/json can
	// encode, or an error, which is answered with 503. It is called from any
	// number of goroutines.
	Status func() any
	// Purge drops entries of the response cache and says how many there were.
	// Without it there is never anything to purge.
	Purge func(Purge) (int, error)
	Log   *slog.Logger

	// Now is the clock, time.Now if nil.
	Now func() time.Time
	// Ticks says when to look after the directory; nil: every tendInterval.
	Ticks <-chan time.Time

	credentials func(net.Conn) (uid int, err error) // nil: what the kernel says
}

const (
	// tendInterval is how long the directory may be missing before it is made
	// anew. Looking costs a few system calls.
	tendInterval = time.Minute
	// refreshInterval is the distance at which times of modification are
	// renewed. The cleaners of temporary directories that are out there remove
	// what is older than a day at the least.
	refreshInterval = 6 * time.Hour
	// stopPatience is how long Stop waits for requests under way. A client
	// that has connected and says nothing must not hold up the end of the server.
	stopPatience = time.Second
)

// Server is the interface of a running server.
type Server struct {
	options Options
	log     *slog.Logger
	routes  routes
	http    *http.Server
	peers   peers

	patience time.Duration // of Stop
	stopOnce sync.Once
	stopErr  error
	stopping chan struct{}
	running  sync.WaitGroup // the owner and the acceptors
	deaf     atomic.Bool    // an acceptor has ended although nobody told it to

	mu        sync.Mutex
	directory *directory // changed by the owner only

	// The owner's.
	refreshed time.Time
	failing   bool // the last attempt to make the directory anew has failed
}

// Start removes what killed servers of this user have left behind, makes the
// instance directory and serves the API. Errors name the option that is to be
// changed.
func Start(o Options) (*Server, error) {
	path, err := filepath.Abs(o.RegistryDir)
	if err != nil {
		return nil, fmt.Errorf("instance_registry_dir: %w", err)
	}
	o.RegistryDir = path
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.credentials == nil {
		o.credentials = peerUID
	}
	s := &Server{options: o, log: o.Log, patience: stopPatience, stopping: make(chan struct{}), refreshed: o.Now()}
	s.http = s.newHTTPServer()
	s.addEndpoints()
	removeStale(o.RegistryDir, s.log)
	if s.directory, err = makeDirectory(o, ""); err != nil {
		return nil, err
	}
	s.accept(s.directory)
	s.running.Go(s.own)
	return s, nil
}

// Dir is the path of the instance directory. It changes only if the directory
// has been removed by somebody and its name is taken since.
func (s *Server) Dir() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.directory.path
}

// SocketPath is where one of the sockets is.
func (s *Server) SocketPath(name string) string { return filepath.Join(s.Dir(), socketDirName, name) }

// Stop ends the API and removes the directory. Requests under way may finish
// until ctx ends, or for stopPatience.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() {
		close(s.stopping)
		ctx, cancel := context.WithTimeout(ctx, s.patience)
		defer cancel()
		err := s.http.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			err = s.http.Close()
		}
		err = errors.Join(ignoreClosed(err), s.directory.deafen())
		s.running.Wait()
		s.stopErr = errors.Join(err, s.directory.remove())
	})
	return s.stopErr
}

// accept serves connections to the sockets of a directory until they are closed.
func (s *Server) accept(d *directory) {
	for i, l := range d.listeners {
		from := listener{Listener: l, peers: &s.peers, credentials: s.options.credentials}
		serve := func() error { return s.http.Serve(&from) }
		if i > 0 {
			socket := s.options.Sockets[i-1]
			serve = func() error { return socket.Serve(&screened{from, socket.Refuse}) }
		}
		s.running.Go(func() {
			err := serve()
			if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				s.log.Error("a socket in the instance directory accepts no connections any more, it will be made anew", "socket", d.sockets[i], "error", err)
				s.deaf.Store(true)
			}
		})
	}
}

// own looks after the directory.
func (s *Server) own() {
	ticks := s.options.Ticks
	if ticks == nil {
		ticker := time.NewTicker(tendInterval)
		defer ticker.Stop()
		ticks = ticker.C
	}
	for {
		select {
		case <-ticks:
			s.tend()
		case <-s.stopping:
			return
		}
	}
}

func (s *Server) tend() {
	if s.deaf.Load() || !s.directory.intact() {
		s.makeAnew()
		return
	}
	// By the wall clock, as the cleaners count: a machine that has slept for a
	// day has files that are a day old.
	now := s.options.Now().Round(0)
	if age := now.Sub(s.refreshed.Round(0)); age >= 0 && age < refreshInterval {
		return
	}
	if err := s.directory.refresh(now); err != nil {
		s.log.Warn("times of modification in the instance directory cannot be renewed", "directory", s.directory.path, "error", err)
	}
	s.refreshed = now
}

// makeAnew replaces a directory that somebody has removed, or parts of it.
func (s *Server) makeAnew() {
	old := s.directory
	if !s.failing {
		s.log.Warn("the instance directory has been damaged or removed by somebody, it is made anew", "directory", old.path)
		// What is left goes first, so that the new one can have the name.
		if err := old.remove(); err != nil {
			s.log.Warn("the rest of the instance directory cannot be removed", "directory", old.path, "error", err)
		}
	}
	fresh, err := makeDirectory(s.options, old.name)
	if err != nil {
		if !s.failing {
			s.failing = true
			s.log.Error("without an instance directory the server cannot be administered; more attempts follow", "error", err)
		}
		return
	}
	if s.failing {
		s.failing = false
		s.log.Info("there is an instance directory again", "directory", fresh.path)
	}
	s.mu.Lock()
	s.directory = fresh
	s.mu.Unlock()
	s.refreshed = s.options.Now()
	s.deaf.Store(false)
	s.accept(fresh)
}

// ignoreClosed drops the complaint that something has been closed before.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
