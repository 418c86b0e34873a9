package core

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"passenger/go/internal/admin"
	"passenger/go/internal/pool"
	"passenger/go/internal/respcache"
)

// administration is what the engine tells, and lets be done, from outside.
type administration struct {
	server  *admin.Server
	url     string // under which the server is reached
	started time.Time

	// What steps of the chain add; nil where a step is not there.
	staticCache   func() any
	responseCache func() any
	cable         func() any
	purge         func(admin.Purge) (int, error)
}

// startAdmin makes the instance directory and opens the socket in it.
func (e *Engine) startAdmin(url string) (err error) {
	e.admin.url, e.admin.started = url, time.Now()
	e.admin.staticCache = func() any { return e.files.Status() }
	registry := e.options.InstanceRegistryDir
	if registry == "" {
		registry = temporaryDir(e.options.Environ)
	}
	e.admin.server, err = admin.Start(admin.Options{
		RegistryDir:    registry,
		Version:        Version,
		ServerSoftware: e.options.ServerSoftware,
		AppRoot:        e.options.AppRoot,
		Environment:    e.options.Environment,
		Sockets:        []admin.Socket{e.newCable()},
		Status:         e.status,
		Purge:          e.admin.purge,
		Log:            e.log,
	})
	if err == nil {
		e.supervisor.app.CableSocket = e.cableSocket
		e.addEndpoints(e.admin.server)
	}
	return err
}

// addEndpoints lets the processes of the app be seen to.
func (e *Engine) addEndpoints(server *admin.Server) {
	server.Handle(http.MethodPost, "/restart", e.restartRequested)
	server.Handle(http.MethodPost, "/workers/detach", func(r *admin.Request) (any, error) {
		pid, err := workerNamed(r)
		if err != nil {
			return nil, err
		}
		return done{"ok"}, e.supervisor.detachWorker(pid)
	})
	server.Handle(http.MethodPost, "/workers/backtrace", func(r *admin.Request) (any, error) {
		pid, err := workerNamed(r)
		if err != nil {
			return nil, err
		}
		text, err := e.supervisor.backtrace(pid)
		return admin.Text(text), err
	})
}

// done answers a command.
type done struct {
	Status string `json:"status"`
}

// restartRequested is POST /restart, {"method": "blocking" or "rolling"}; without
// a method the options decide.
func (e *Engine) restartRequested(r *admin.Request) (any, error) {
	fields := map[string]gjson.Result{}
	if len(r.Payload) > 0 {
		var err error
		if fields, err = r.Object(map[string]admin.Kind{"method": admin.StringField}); err != nil {
			return nil, err
		}
	}
	method := fields["method"].String()
	switch method {
	case "", RestartBlocking, RestartRolling:
	default:
		return nil, badRequest(fmt.Sprintf("method is %q; it can be %s or %s", method, RestartBlocking, RestartRolling))
	}
	e.supervisor.restart("asked for through the admin socket", method)
	return done{"ok"}, nil
}

// workerNamed reads {"pid": N}.
func workerNamed(r *admin.Request) (int, error) {
	fields, err := r.Object(map[string]admin.Kind{"pid": admin.CountField})
	if err == nil && !fields["pid"].Exists() {
		err = badRequest(`the body must name a process, as in {"pid": 4711}`)
	}
	return int(fields["pid"].Int()), err
}

func badRequest(message string) error {
	return &admin.Error{Status: http.StatusBadRequest, Message: message}
}

// detachWanted replaces one worker.
type detachWanted struct {
	pid   int
	reply chan error
}

// detachWorker has another process take the place of one (passenger-config
// detach-process). It finishes what it has begun.
func (s *supervisor) detachWorker(pid int) error {
	reply := make(chan error, 1)
	s.post(detachWanted{pid, reply})
	select {
	case err := <-reply:
		return err
	case <-s.ended:
		return noSuchWorker(pid)
	}
}

func (s *supervisor) detach(pid int) error {
	w := s.byPID(pid)
	if w == nil {
		return noSuchWorker(pid)
	}
	s.retire(w, pool.ReasonDetached)
	s.balance()
	return nil
}

// purge empties the response cache, or part of it.
func (e *Engine) purge(p admin.Purge) (int, error) {
	q := respcache.Purge(p)
	if err := q.Check(); err != nil {
		return 0, badRequest(err.Error())
	}
	return e.cache.Purge(q), nil
}

// adminPatience is how long a request to the admin socket may hold up the end of the server.
const adminPatience = time.Second

func (e *Engine) stopAdmin() {
	ctx, cancel := context.WithTimeout(context.Background(), adminPatience)
	defer cancel()
	defer e.cable.Stop(ctx)
	if err := e.admin.server.Stop(ctx); err != nil {
		e.log.Warn("the instance directory cannot be removed", "directory", e.admin.server.Dir(), "error", err)
	}
}

// temporaryDir is $TMPDIR of the environment that the server was given, or
// /tmp. os.TempDir would look at the environment of when the library was loaded.
func temporaryDir(environ []string) string {
	for _, setting := range environ {
		if path, is := strings.CutPrefix(setting, "TMPDIR="); is && path != "" {
			return path
		}
	}
	return "/tmp"
}
