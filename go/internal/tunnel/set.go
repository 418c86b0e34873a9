package tunnel

import (
	"context"
	"sync"
	"time"
)

// Set is the tunnels of a server. The zero value is an empty one; all methods
// may be called from any goroutine.
type Set struct {
	mu      sync.Mutex
	workers map[uint32]map[*tunnel]struct{}
	count   int
	closing bool
	quiet   watchers
	empty   chan struct{} // closed when nothing is left, where somebody waits for that
}

// Count is how many tunnels are open.
func (s *Set) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// CountOf is how many of them end at an application process.
func (s *Set) CountOf(worker uint32) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.workers[worker])
}

// CloseAll closes the tunnels of an application process that is to leave, but
// for those that carry a response. It returns at once: the app reads the end of
// its sockets now, the clients read it when they have got what is on its way, or
// are cut off after a short time. It may be called again, for those that
// requests under way have opened since.
func (s *Set) CloseAll(worker uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t := range s.workers[worker] {
		if !t.ends.Response {
			t.abort()
		}
	}
}

// Close closes all tunnels, and those that are opened from now on, and returns
// when they have ended. When ctx ends before that they are cut off.
func (s *Set) Close(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	if s.count == 0 {
		s.mu.Unlock()
		return
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	empty := s.empty
	s.each(func(t *tunnel) {
		t.abort()
		if t.lingering {
			_ = t.ends.Client.SetReadDeadline(time.Now().Add(lingerAtClose))
		}
	})
	s.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
		s.mu.Lock()
		s.each((*tunnel).fail)
		s.mu.Unlock()
		<-empty
	}
}

// each is called with the lock held.
func (s *Set) each(do func(*tunnel)) {
	for _, tunnels := range s.workers {
		for t := range tunnels {
			do(t)
		}
	}
}

// add reports whether the tunnel is to be closed again.
func (s *Set) add(t *tunnel) (closing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workers == nil {
		s.workers = map[uint32]map[*tunnel]struct{}{}
	}
	of := s.workers[t.ends.Worker]
	if of == nil {
		of = map[*tunnel]struct{}{}
		s.workers[t.ends.Worker] = of
	}
	of[t] = struct{}{}
	s.count++
	t.watcher = s.quiet.join()
	return s.closing
}

func (s *Set) remove(t *tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.workers[t.ends.Worker]
	delete(of, t)
	if len(of) == 0 {
		delete(s.workers, t.ends.Worker)
	}
	s.quiet.leave(t.watcher)
	s.count--
	if s.count == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// lingerAtClose is the time for the same where a shutdown waits for it.
const lingerAtClose = 100 * time.Millisecond

// lingers bounds the time for which a client may still send what nobody reads.
func (s *Set) lingers(t *tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.lingering = true
	patience := linger
	if s.closing {
		patience = lingerAtClose
	}
	_ = t.ends.Client.SetReadDeadline(time.Now().Add(patience))
	t.stay()
}
