package core

import (
	"context"
	"net/http"
	"strings"
	"time"

	"passenger/go/internal/admin"
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
		Status:         e.status,
		Purge:          e.admin.purge,
		Log:            e.log,
	})
	return err
}

// purge empties the response cache, or part of it.
func (e *Engine) purge(p admin.Purge) (int, error) {
	q := respcache.Purge(p)
	if err := q.Check(); err != nil {
		return 0, &admin.Error{Status: http.StatusBadRequest, Message: err.Error()}
	}
	return e.cache.Purge(q), nil
}

// adminPatience is how long a request to the admin socket may hold up the end of the server.
const adminPatience = time.Second

func (e *Engine) stopAdmin() {
	ctx, cancel := context.WithTimeout(context.Background(), adminPatience)
	defer cancel()
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
