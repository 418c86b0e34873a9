package dispatch

import (
	"errors"
	"fmt"
	"net/http"
)

// StatusError is a failure that the client is told about with an HTTP status.
type StatusError struct {
	Status int
	Reason string
	// RetryAfter is after how many seconds the client may try again, 0 if
	// nothing can be said about that.
	RetryAfter int
}

func (e *StatusError) Error() string { return e.Reason }

// retrySoon is the delay, in seconds, that clients are asked for when the
// server has no room for them. A line moves on within moments, so the shortest
// that the header can say is long enough to keep them from trying at once.
const retrySoon = 1

// What can become of a request instead of a response.
var (
	ErrQueueFull      = &StatusError{http.StatusServiceUnavailable, "request queue full", retrySoon}
	ErrShuttingDown   = &StatusError{http.StatusServiceUnavailable, "server is shutting down", retrySoon}
	ErrQueueTimeout   = &StatusError{http.StatusGatewayTimeout, "the request has waited too long for an application process (max_request_queue_time)", 0}
	ErrRequestTimeout = &StatusError{http.StatusGatewayTimeout, "the application took too long to answer (max_request_time)", 0}
	ErrWorkerDied     = &StatusError{http.StatusBadGateway, "the application process ended before it answered", 0}
	ErrBadResponse    = &StatusError{http.StatusBadGateway, "the application process sent something that is not a response", 0}
	ErrDrainTimeout   = &StatusError{http.StatusGatewayTimeout, "the application did not answer before the shutdown deadline", 0}
	ErrTooLarge       = &StatusError{http.StatusRequestHeaderFieldsTooLarge, "request headers too large for the application", 0}
)

// ErrClientGone is the end of a request whose client has hung up before a
// worker took it. It has not been run, and nobody waits for a response.
var ErrClientGone = errors.New("the client has hung up before its request was served")

// AppError is an exception that left the app before there was a response.
type AppError struct {
	Class, Message, Backtrace string
}

func (e *AppError) Error() string { return fmt.Sprintf("%s: %s", e.Class, e.Message) }

// BootError says why the app could not be started. Every request that waits
// for it gets this answer.
type BootError struct {
	ID        string // 8 hex digits, also in the log
	Class     string
	Message   string
	Backtrace string
	File      string
	Line      string
	Excerpt   string
}

func (e *BootError) Error() string {
	return fmt.Sprintf("the application could not be started (error id %s): %s: %s", e.ID, e.Class, e.Message)
}
