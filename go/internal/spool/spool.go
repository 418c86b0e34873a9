// Package spool holds a response body on its way from a worker to a client
// that may be slower: in memory first, then in an unlinked temporary file.
package spool

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
)

// Limits of one spool.
type Limits struct {
	// Memory is how many bytes are held in memory before the file is used.
	Memory int
	// File is how many bytes the file may hold unread; beyond it the writer waits.
	File int64
	// Dir is where the temporary file is made.
	Dir string
}

// ErrReaderGone is what Write returns once the reader has closed the spool, or
// somebody has ended it in the writer's stead.
var ErrReaderGone = errors.New("spool: the reader has gone")

// Spool is a FIFO of bytes between one writer and one reader.
type Spool struct {
	limits Limits
	log    *slog.Logger

	mu       sync.Mutex
	changed  sync.Cond
	memory   []byte
	head     int // read position in memory
	file     *os.File
	rOff     int64
	wOff     int64
	noFile   bool // the file could not be written: memory and waiting must do
	closed   bool // no more writes
	err      error
	reader   bool // the reader has closed
	waiting  bool // the reader waits for something to come
	consumed int64
}

// New makes an empty spool.
func New(limits Limits, log *slog.Logger) *Spool {
	s := &Spool{limits: limits, log: log}
	s.changed.L = &s.mu
	return s
}

// Write appends p. It waits only when both memory and file are full.
func (s *Spool) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := 0
	for len(p) > 0 {
		if s.reader || s.closed {
			return written, ErrReaderGone
		}
		n := s.place(p)
		if n == 0 {
			s.changed.Wait()
			continue
		}
		written += n
		p = p[n:]
		s.changed.Broadcast()
	}
	return written, nil
}

// place stores as much of p as there is room for now.
func (s *Spool) place(p []byte) int {
	if s.rOff == s.wOff { // nothing in the file: order allows memory
		if room := s.limits.Memory - (len(s.memory) - s.head); room > 0 {
			n := min(room, len(p))
			if s.head > 0 && len(s.memory)+n > cap(s.memory) {
				s.memory = s.memory[:copy(s.memory, s.memory[s.head:])]
				s.head = 0
			}
			s.memory = append(s.memory, p[:n]...)
			return n
		}
	}
	if s.noFile || s.wOff-s.rOff >= s.limits.File {
		return 0
	}
	n := int(min(int64(len(p)), s.limits.File-(s.wOff-s.rOff)))
	n, err := s.writeFile(p[:n])
	if err != nil {
		// A full disk makes the response slower, not broken: the worker waits for the client instead.
		s.noFile = true
		s.log.Error("cannot buffer a response on disk, the worker waits for the client", "dir", s.limits.Dir, "error", err)
	}
	return n
}

func (s *Spool) writeFile(p []byte) (int, error) {
	if s.file == nil {
		f, err := TempFile(s.limits.Dir)
		if err != nil {
			return 0, err
		}
		s.file = f
	}
	n, err := s.file.WriteAt(p, s.wOff)
	s.wOff += int64(n)
	return n, err
}

// CloseWrite ends the spool: the reader gets what is left, then err, or
// io.EOF if err is nil. The first end counts. A write that waits returns.
func (s *Spool) CloseWrite(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed, s.err = true, err
		s.changed.Broadcast()
	}
}

// Read takes bytes out, waiting for some to come.
func (s *Spool) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.reader {
			return 0, os.ErrClosed
		}
		if s.head < len(s.memory) {
			n := copy(p, s.memory[s.head:])
			s.head += n
			if s.head == len(s.memory) {
				s.memory, s.head = s.memory[:0], 0
			}
			s.consumed += int64(n)
			s.changed.Broadcast()
			return n, nil
		}
		if s.rOff < s.wOff {
			n, err := s.file.ReadAt(p[:min(int64(len(p)), s.wOff-s.rOff)], s.rOff)
			s.rOff += int64(n)
			if s.rOff == s.wOff {
				s.rOff, s.wOff = 0, 0
				if terr := s.file.Truncate(0); terr != nil && err == nil {
					err = terr
				}
			}
			if n > 0 {
				s.consumed += int64(n)
				s.changed.Broadcast()
				return n, nil
			}
			if err != nil {
				return 0, err
			}
		}
		if s.closed {
			if s.err != nil {
				return 0, s.err
			}
			return 0, io.EOF
		}
		s.waiting = true
		s.changed.Wait()
		s.waiting = false
	}
}

// Drained reports whether the reader is waiting for more, having dealt with
// all that was written: this many bytes.
func (s *Spool) Drained() (bytes int64, drained bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.consumed, s.waiting && s.head == len(s.memory) && s.rOff == s.wOff
}

// Close is the reader's: it drops what is left and wakes the writer.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader {
		return nil
	}
	s.reader = true
	s.memory = nil
	s.changed.Broadcast()
	if s.file != nil {
		return s.file.Close()
	}
	return nil
}

// TempFile makes a file without a name in dir, so that nothing is left behind
// whatever happens to the process.
func TempFile(dir string) (*os.File, error) {
	f, err := openUnnamed(dir)
	if err == nil {
		return f, nil
	}
	// Not every file system knows O_TMPFILE.
	f, err = os.CreateTemp(dir, "passenger-body-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
