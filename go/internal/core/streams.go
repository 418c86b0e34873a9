package core

import (
	"bytes"
	"time"

	"passenger/go/internal/dispatch"
	"passenger/go/internal/link"
	"passenger/go/internal/spool"
)

// What is held of a response for a slow client: this much in memory, then on
// disk. A worker that has its body together, or has said how long it is, comes
// to its end, and is to be free soon. Of a body whose end nobody knows less is
// held: an endless one would fill the disk, and its client would read what has
// long ceased to be true. Of one that is meant to be read at once nothing is
// worth a file.
const (
	spoolMemory  = 256 << 10
	spoolFile    = 1 << 30
	spoolUnknown = 64 << 20
)

func spoolLimits(dir string, file int64) spool.Limits {
	return spool.Limits{Memory: spoolMemory, File: file, Dir: dir}
}

var (
	headerContentType    = []byte("content-type")
	headerAccelBuffering = []byte("x-accel-buffering")
	mediaEvents          = []byte("text/event-stream")
	mediaReplaced        = []byte("multipart/x-mixed-replace")
	wordNo               = []byte("no")
)

// streamSpoolLimits is how much may be held of a response that the app sends
// piece by piece.
func streamSpoolLimits(dir string, headers link.Headers) spool.Limits {
	file := int64(spoolUnknown)
	for {
		name, value, rest, ok := headers.Next()
		if !ok {
			return spoolLimits(dir, file)
		}
		headers = rest
		switch {
		case bytes.EqualFold(name, headerContentLength):
			file = spoolFile
		case bytes.EqualFold(name, headerContentType):
			media, _, _ := bytes.Cut(value, []byte{';'})
			if media = bytes.TrimSpace(media); bytes.EqualFold(media, mediaEvents) || bytes.EqualFold(media, mediaReplaced) {
				return spoolLimits(dir, 0)
			}
		case bytes.EqualFold(name, headerAccelBuffering):
			if bytes.EqualFold(value, wordNo) {
				return spoolLimits(dir, 0)
			}
		}
	}
}

// clientGone: nobody reads any more what a worker streams.
type clientGone struct {
	seat *dispatch.Seat
	slot int
	id   uint64
}

// clientGone tells the worker. It may end at this moment, and then there is
// nothing to tell.
func (s *supervisor) clientGone(e clientGone) {
	for _, w := range s.workers {
		if w.seat == e.seat && w.process != nil {
			if err := w.process.ClientGone(e.slot, e.id); err != nil {
				s.log.Debug("an application process cannot be told that a client has gone", "worker", w.pid(), "error", err)
			}
			return
		}
	}
}

const (
	// heldAge is how long a response has been streamed when its thread counts as
	// held by it.
	heldAge = 5 * time.Second
	// heldReminder is the distance at which the log says that again.
	heldReminder = time.Minute
)

// watchStreams says in the log why requests wait, if that is because streamed
// responses hold all threads: nothing else would tell.
func (s *supervisor) watchStreams(now time.Time) {
	held, slots := s.dispatcher.Held(heldAge)
	if slots == 0 || held < slots || !s.dispatcher.Short() || now.Sub(s.heldSaid) < heldReminder {
		return
	}
	s.heldSaid = now
	s.log.Warn("requests wait: all request threads are busy with responses that are still being streamed; raise thread_count or max_pool_size, "+
		"or hijack the connections of long streams (docs/streaming.md)", "threads", slots, "streamed_for_more_than", heldAge)
}
