package dispatch

import (
	"fmt"
	"net/http"
)

// StatusError is a failure that the client is told about with an HTTP status.
type StatusError struct {
	Status int
	Reason string
}

func (e *StatusError) Error() string { return e.Reason }

// What can become of a request instead of a response.
var (
	ErrQueueFull    = &StatusError{http.StatusServiceUnavailable, "request queue full"}
	ErrShuttingDown = &StatusError{http.StatusServiceUnavailable, "server is shutting down"}
	ErrWorkerDied   = &StatusError{http.StatusBadGateway, "the application process ended before it answered"}
	ErrBadResponse  = &StatusError{http.StatusBadGateway, "the application process sent something that is not a response"}
	ErrDrainTimeout = &StatusError{http.StatusGatewayTimeout, "the application did not answer before the shutdown deadline"}
	ErrTooLarge     = &StatusError{http.StatusRequestHeaderFieldsTooLarge, "request headers too large for the application"}
)

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
