// Package logging sets up the engine's log.
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Open opens the file that the log and the app's output go to; without a path
// that is standard error. The caller closes it.
func Open(path string) (*os.File, error) {
	if path == "" {
		return duplicate(os.Stderr)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	return file, nil
}

// duplicate gives standard error another number: Go ends the process when a
// write to descriptor 2 meets a closed pipe, and a server must outlive whoever
// reads its log.
func duplicate(file *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("log: %w", os.NewSyscallError("dup", err))
	}
	return os.NewFile(uintptr(fd), "stderr"), nil
}

// New returns a logger that writes lines for people.
func New(w io.Writer) *slog.Logger { return slog.New(&handler{w: w, mu: new(sync.Mutex)}) }

// handler writes `[time pid level] message key=value …`, and values of several
// lines, such as backtraces, as a block below.
type handler struct {
	w     io.Writer
	mu    *sync.Mutex
	attrs []slog.Attr
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{w: h.w, mu: h.mu, attrs: append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

// WithGroup is not used in the engine; groups are flattened.
func (h *handler) WithGroup(string) slog.Handler { return h }

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s %d passenger", r.Time.Format("2006-01-02 15:04:05.0000"), os.Getpid())
	if r.Level != slog.LevelInfo {
		b.WriteString(" " + strings.ToLower(r.Level.String()))
	}
	b.WriteString("] " + r.Message)
	var block strings.Builder
	add := func(a slog.Attr) bool {
		if value := a.Value.String(); strings.Contains(value, "\n") {
			for line := range strings.Lines(value) {
				block.WriteString("    " + strings.TrimRight(line, "\r\n") + "\n")
			}
			return true
		}
		appendAttr(&b, a)
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	b.WriteByte('\n')
	b.WriteString(block.String())
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, b.String())
	return err
}

func appendAttr(b *strings.Builder, a slog.Attr) {
	value := a.Value.String()
	if value == "" || strings.ContainsAny(value, " \"=") {
		value = strconv.Quote(value)
	}
	b.WriteString(" " + a.Key + "=" + value)
}
