package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// slotBuffer is the read buffer of a slot stream, in bytes. Responses up to
// this size usually take one system call.
const slotBuffer = 64 << 10

// maxUnclaimed is how many descriptors may be ahead of their frames in the
// buffer.
const maxUnclaimed = 16

// SlotStream is the engine's end of one worker thread's response stream. One
// goroutine reads it.
type SlotStream struct {
	file       *os.File
	recv       *receiver
	buf        []byte
	start, end int
	files      []int // came along, not taken yet, in the order of their frames
}

// NewSlotStream makes the socket pair; peer is for the worker.
func NewSlotStream() (s *SlotStream, peer *os.File, err error) {
	engine, peer, err := socketPair(unix.SOCK_STREAM)
	if err != nil {
		return nil, nil, err
	}
	recv, err := newReceiver(engine, 1)
	if err != nil {
		engine.Close()
		peer.Close()
		return nil, nil, fmt.Errorf("slot stream: %w", err)
	}
	return &SlotStream{file: engine, recv: recv, buf: make([]byte, slotBuffer)}, peer, nil
}

func (s *SlotStream) fill() error {
	if s.start == s.end {
		s.start, s.end = 0, 0
	} else if s.end == len(s.buf) {
		copy(s.buf, s.buf[s.start:s.end])
		s.end -= s.start
		s.start = 0
	}
	n, err := s.receive(s.buf[s.end:])
	s.end += n
	return err
}

func (s *SlotStream) receive(p []byte) (int, error) {
	n, fds, err := s.recv.receive(p)
	if len(fds) > 0 {
		s.files = append(s.files, fds...)
		if len(s.files) > maxUnclaimed {
			return n, errors.New("descriptors come without frames that they belong to")
		}
	}
	return n, err
}

// TakeFile returns the descriptor that came with the file or hijack frame that
// is being read; the caller closes it.
func (s *SlotStream) TakeFile() (int, error) {
	if len(s.files) == 0 {
		return -1, errors.New("a frame came without its descriptor")
	}
	fd := s.files[0]
	s.files = append(s.files[:0], s.files[1:]...)
	return fd, nil
}

// peek returns the next n bytes (n ≤ slotBuffer) without consuming them.
func (s *SlotStream) peek(n int) ([]byte, error) {
	for s.end-s.start < n {
		if err := s.fill(); err != nil {
			if err == io.EOF && s.end > s.start {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return s.buf[s.start : s.start+n], nil
}

// Next reads the header of the next frame. The caller then reads exactly its
// payload. io.EOF between frames when the worker has closed the stream.
func (s *SlotStream) Next() (FrameHeader, error) {
	if s.start == s.end && len(s.files) > 0 {
		// All bytes that these came with have been read, and no frame wanted them.
		closeAll(s.files)
		s.files = s.files[:0]
	}
	b, err := s.peek(frameHeaderSize)
	if err != nil {
		return FrameHeader{}, err
	}
	h, err := ParseFrameHeader(b)
	if err != nil {
		return h, err
	}
	s.start += frameHeaderSize
	return h, nil
}

// ReadFull fills p from the payload. What is not in the buffer yet goes from
// the socket straight into p.
func (s *SlotStream) ReadFull(p []byte) error {
	n := copy(p, s.buf[s.start:s.end])
	s.start += n
	p = p[n:]
	for len(p) > 0 {
		n, err := s.receive(p)
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		p = p[n:]
	}
	return nil
}

// ReadHead reads the start of a head-like payload of length n: the header
// block into headers (its capacity is reused). It returns how many bytes of
// the payload are left.
func (s *SlotStream) ReadHead(headers Headers, n int) (Headers, int, error) {
	if n < 4 {
		return headers, 0, fmt.Errorf("response head has %d bytes, fewer than its length field", n)
	}
	b, err := s.peek(4)
	if err != nil {
		return headers, 0, err
	}
	size := int(binary.LittleEndian.Uint32(b))
	s.start += 4
	if size > n-4 {
		return headers, 0, fmt.Errorf("response head announces %d bytes of headers in a payload of %d", size, n)
	}
	if cap(headers) < size {
		headers = make(Headers, size)
	}
	headers = headers[:size]
	if err := s.ReadFull(headers); err != nil {
		return headers, 0, err
	}
	if !headers.Valid() {
		return headers, 0, errors.New("header block of a response is malformed")
	}
	return headers, n - 4 - size, nil
}

// Notice is what the engine may tell a worker about the request it answers.
type Notice uint32

// The notices, as numbered in docs/protocol.md.
const (
	NoticeClientGone Notice = 1 // nobody reads the rest of the response
	NoticeSocket     Notice = 2 // an offer is taken; the client's socket comes along
	NoticeNoSocket   Notice = 3 // an offer is not taken
)

// Notify sends a notice without waiting; fd is passed along unless it is -1.
// A worker that is not in the middle of a response does not read notices; when
// the buffer is full of them, one more is not needed.
func (s *SlotStream) Notify(id uint64, notice Notice, fd int) error {
	var message [16]byte
	binary.LittleEndian.PutUint64(message[:], id)
	binary.LittleEndian.PutUint32(message[8:], uint32(notice))
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	var errno syscall.Errno
	err := s.recv.conn.Control(func(stream uintptr) { errno = trySend(int(stream), message[:], rights) })
	if err == nil && errno != 0 && errno != syscall.EAGAIN && errno != syscall.EPIPE {
		err = errno
	}
	return err
}

// Discard drops n bytes of payload.
func (s *SlotStream) Discard(n int) error {
	for n > 0 {
		if s.start == s.end {
			if err := s.fill(); err != nil {
				return err
			}
		}
		k := min(n, s.end-s.start)
		s.start += k
		n -= k
	}
	return nil
}

// Interrupt makes the reader of the stream return with an error.
func (s *SlotStream) Interrupt() { s.file.Close() }

// Close closes the stream. The reader calls it.
func (s *SlotStream) Close() {
	s.file.Close()
	closeAll(s.files)
	s.files = nil
}
