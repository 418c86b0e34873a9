// Package dispatch brings requests to workers and their responses back. It
// keeps the engine's own line of waiting requests, hands the queue socket no
// more than the workers can soon take, and knows for every request where it
// is, so that each gets exactly one answer whatever dies on the way.
package dispatch

import (
	"fmt"
	"os"
	"syscall"

	"passenger/go/internal/link"
	"passenger/go/internal/spool"
)

// callState is where a call is on its way.
type callState uint8

const (
	callNew       callState = iota // not submitted, or done with
	callWaiting                    // in the engine's line
	callSent                       // in the queue socket, or received by a worker
	callAnswering                  // a slot's reader is filling in the response
)

func (s callState) String() string {
	switch s {
	case callNew:
		return "new"
	case callWaiting:
		return "waiting"
	case callSent:
		return "sent"
	case callAnswering:
		return "answering"
	}
	return fmt.Sprintf("unknown(%d)", uint8(s))
}

// Call is one request and its response. It is reused: the goroutine that
// serves the client owns it, but for the time between Submit and Wait.
type Call struct {
	// Request is the message; BodyFile, if not nil, its body.
	Request  link.Request
	BodyFile *os.File

	// Client, if not nil, is the client's socket: should it hang up before a
	// worker has taken the request, that is not run.
	Client syscall.Conn
	// Sticky is the worker that the request is for (Seat.ID), 0 if any will do.
	// Should that worker be no more, any will.
	Sticky uint32

	// The response, to be read when Wait has returned nil.
	Kind    link.FrameType // complete, file or hijack; head or offer: Stream follows
	Status  int
	Headers link.Headers
	Body    []byte // complete: the body; file: the path
	File    *os.File
	Length  int64 // offer: of the body
	Stream  *spool.Spool
	Offer   *Offer
	Socket  *os.File // hijack: the app's connection to the client; Status is 0 if the app writes the head, too

	ID uint64
	// Worker is the one that has answered (Seat.ID).
	Worker uint32

	// Guarded by the dispatcher's lock.
	state      callState
	index      uint32
	ticket     uint64 // its number among all that were submitted
	submitted  int64  // ns on CLOCK_MONOTONIC
	line       *line  // waiting: where
	prev, next *Call  // in the line
	generation *Generation
	seat       *Seat       // sent through its direct queue; nil: the common one
	taken      bool        // sent: a worker is known to have received it
	gone       bool        // the client has hung up
	expired    bool        // a stand-in for a call that has been answered: no one waits for its response
	open       *openStream // of a stand-in, while its response is streamed
	interims   int         // interim responses that have come

	err      error
	ready    chan link.Headers // interim responses, then nil for the response; nil in a stand-in
	answered bool              // the nil has been taken; its owner's
}

// maxKeptBuffer is how large a buffer a reused call may keep, in bytes.
const maxKeptBuffer = 64 << 10

// NewCall makes a call with nothing in it.
func NewCall() *Call { return &Call{ready: make(chan link.Headers, maxInterim+1)} }

// Reset prepares the call for its next request.
func (c *Call) Reset() {
	c.Request.Shrink(maxKeptBuffer)
	c.Request.Reset()
	c.BodyFile, c.Client, c.Sticky, c.Worker = nil, nil, 0, 0
	c.Kind, c.Status = 0, 0
	c.Headers = c.Headers[:0]
	if cap(c.Body) > maxKeptBuffer {
		c.Body = nil
	}
	c.Body = c.Body[:0]
	c.File, c.Length, c.Stream, c.Offer, c.Socket = nil, 0, nil, nil, nil
	c.ID, c.err, c.interims, c.answered = 0, nil, 0, false
}

// answer wakes who waits for the call.
func (c *Call) answer(err error) {
	if c.ready != nil {
		c.err = err
		c.ready <- nil
	}
}

// Wait returns when the response, or its head, is there, or with the reason
// why there is none. Interim responses that nobody has asked for are dropped.
func (c *Call) Wait() error {
	for c.Interim() != nil {
	}
	return c.err
}

// Close lets go of a response body that will not be sent.
func (c *Call) Close() {
	if c.File != nil {
		c.File.Close()
		c.File = nil
	}
	if c.Socket != nil {
		c.Socket.Close()
		c.Socket = nil
	}
	if c.Offer != nil {
		// A worker that does not hear of it waits no longer than for any answer.
		_ = c.Offer.Decline()
		c.Offer = nil
	}
	if c.Stream != nil {
		c.Stream.Close()
		c.Stream = nil
	}
}
