package static

import (
	"errors"
	"log/slog"
	"sync"
)

// grumbleMax is about how many files the log is told why they are not served.
const grumbleMax = 100

// grumbler logs once per file why it is not served.
type grumbler struct {
	log   *slog.Logger
	mu    sync.Mutex
	known map[string]struct{}
}

func newGrumbler(log *slog.Logger) *grumbler {
	return &grumbler{log: log, known: map[string]struct{}{}}
}

// about logs an error. That a file is being written, or has just been changed,
// passes by itself.
func (g *grumbler) about(name string, err error) {
	if errors.Is(err, errBeingWritten) || errors.Is(err, errChanged) || missing(err) {
		return
	}
	g.mu.Lock()
	_, known := g.known[name]
	full := len(g.known) >= grumbleMax
	if !known && !full {
		g.known[name] = struct{}{}
	}
	g.mu.Unlock()
	if !known && !full {
		g.log.Warn("a file is not served, the app is asked instead", "file", name, "reason", err.Error())
	}
}
