package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of a conversation. The peers are tools on the same machine; whoever
// takes longer has stopped.
const (
	maxBody       = 64 << 10
	maxHeader     = 16 << 10
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second // the time an endpoint takes is part of it
	idleTimeout   = 60 * time.Second
)

// Endpoint answers a request with a value that is encoded as JSON, with a
// Text, or with an error: an *Error says its status, any other is a 500.
type Endpoint func(r *Request) (any, error)

// Text is an answer that is not JSON.
type Text string

// Request is what an endpoint gets.
type Request struct {
	*http.Request
	// Payload is the body, complete, at most 64 KiB. It is empty for GET.
	Payload []byte
}

// Error is a failure that the client is told about with an HTTP status.
type Error struct {
	Status  int
	Message string
}

func (e *Error) Error() string { return e.Message }

// routes are the endpoints by path, then by method.
type routes struct {
	mu     sync.RWMutex
	byPath map[string]map[string]Endpoint
}

// Handle adds an endpoint: at exactly this path, for this method. An endpoint
// for GET answers HEAD, too. Two for the same are a mistake of the program.
func (s *Server) Handle(method, path string, do Endpoint) {
	s.routes.mu.Lock()
	defer s.routes.mu.Unlock()
	if s.routes.byPath == nil {
		s.routes.byPath = map[string]map[string]Endpoint{}
	}
	methods := s.routes.byPath[path]
	if methods == nil {
		methods = map[string]Endpoint{}
		s.routes.byPath[path] = methods
	}
	if methods[method] != nil {
		panic("admin: two endpoints for " + method + " " + path)
	}
	methods[method] = do
}

// find returns the endpoint, or the error to answer with; allow are the
// methods that the path has when it does not have this one.
func (r *routes) find(method, path string) (do Endpoint, allow []string, err *Error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	methods := r.byPath[path]
	if methods == nil {
		paths := slices.Sorted(maps.Keys(r.byPath))
		return nil, nil, &Error{http.StatusNotFound, fmt.Sprintf("there is no %q here, only %s", path, strings.Join(paths, ", "))}
	}
	if do = methods[method]; do != nil {
		return do, nil, nil
	}
	allow = slices.Collect(maps.Keys(methods))
	if get := methods[http.MethodGet]; get != nil {
		if method == http.MethodHead {
			return get, nil, nil
		}
		allow = append(allow, http.MethodHead)
	}
	slices.Sort(allow)
	return nil, allow, &Error{http.StatusMethodNotAllowed, fmt.Sprintf("%s is not possible on %s, only %s", method, path, strings.Join(allow, ", "))}
}

func (s *Server) addEndpoints() {
	s.Handle(http.MethodGet, "/ping", func(*Request) (any, error) { return okay{Status: "ok"}, nil })
	s.Handle(http.MethodGet, "/status", func(*Request) (any, error) {
		answer := s.options.Status()
		if err, failed := answer.(error); failed {
			return nil, &Error{http.StatusServiceUnavailable, err.Error()}
		}
		return answer, nil
	})
	s.Handle(http.MethodPost, "/cache/purge", s.purge)
}

type okay struct {
	Status string `json:"status"`
}

// connectionKey is where the context of a request holds its *connection.
type connectionKey struct{}

func (s *Server) newHTTPServer() *http.Server {
	return &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, c)
		},
	}
}

// serve is the way of every request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("an admin endpoint has failed", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			s.answer(w, r, nil, &Error{http.StatusInternalServerError, "this endpoint has a defect, see the log"})
		}
	}()
	if err := permitted(r); err != nil {
		w.Header().Set("Connection", "close")
		s.answer(w, r, nil, err)
		return
	}
	do, allow, refusal := s.routes.find(r.Method, r.URL.Path)
	if refusal != nil {
		if allow != nil {
			w.Header().Set("Allow", strings.Join(allow, ", "))
		}
		s.answer(w, r, nil, refusal)
		return
	}
	request := &Request{Request: r}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		var err error
		if request.Payload, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
			s.answer(w, r, nil, bodyError(err))
			return
		}
	}
	value, err := do(request)
	s.answer(w, r, value, err)
}

// permitted is nil if the peer may use the API: root, and the user whose
// server this is.
func permitted(r *http.Request) error {
	c, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok {
		return &Error{http.StatusForbidden, "it is not known who is asking"}
	}
	if err := c.permission(); err != nil {
		return &Error{http.StatusForbidden, err.Error()}
	}
	return nil
}

func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &Error{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)}
	}
	return &Error{http.StatusBadRequest, fmt.Sprintf("the body cannot be read: %v", err)}
}

// answer sends what an endpoint has come to.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, value any, err error) {
	status, contentType, body := http.StatusOK, "application/json", []byte(nil)
	if err == nil {
		if text, ok := value.(Text); ok {
			contentType, body = "text/plain; charset=utf-8", []byte(text)
		} else {
			body, err = encode(value)
		}
	}
	if err != nil {
		var known *Error
		if !errors.As(err, &known) {
			s.log.Error("an admin request has failed", "path", r.URL.Path, "error", err)
			known = &Error{http.StatusInternalServerError, err.Error()}
		}
		status = known.Status
		contentType = "application/json"
		if body, err = encode(failure{Status: "error", Message: known.Message}); err != nil {
			s.log.Error("an admin error cannot be encoded", "path", r.URL.Path, "error", err)
		}
	}
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// A client that has gone needs no answer.
	_, _ = w.Write(body)
}

type failure struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // nobody reads it in a browser
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("encoding the answer: %w", err)
	}
	return b.Bytes(), nil
}
