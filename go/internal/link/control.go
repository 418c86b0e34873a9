package link

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxControlMessage bounds a control message, in bytes.
const maxControlMessage = 64 << 10

// controlSendPatience is how long Send waits for a peer that does not read.
// The peers read in their main thread and answer nothing, so a full socket
// means that the process is stopped or stuck.
const controlSendPatience = 5 * time.Second

// Message is one control message: a verb with named fields.
type Message struct {
	Verb   string
	Fields map[string]string
	Files  []*os.File
}

// Get returns a field, "" if it is not there.
func (m Message) Get(key string) string { return m.Fields[key] }

// Close closes the files that came with the message and were not taken.
func (m Message) Close() {
	for _, f := range m.Files {
		f.Close()
	}
}

func (m Message) encode() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(m.Verb)
	for k, v := range m.Fields {
		if strings.ContainsRune(k, 0) || strings.ContainsRune(v, 0) {
			return nil, fmt.Errorf("control message %s: field %s contains a NUL byte", m.Verb, k)
		}
		b.WriteByte(0)
		b.WriteString(k)
		b.WriteByte('=')
		b.WriteString(v)
	}
	if b.Len() > maxControlMessage {
		return nil, fmt.Errorf("control message %s has %d bytes, at most %d are allowed", m.Verb, b.Len(), maxControlMessage)
	}
	return b.Bytes(), nil
}

func decodeMessage(b []byte) (Message, error) {
	parts := strings.Split(string(b), "\x00")
	m := Message{Verb: parts[0], Fields: make(map[string]string, len(parts)-1)}
	for _, part := range parts[1:] {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return m, fmt.Errorf("control message %s: %q is not of the form key=value", m.Verb, part)
		}
		m.Fields[key] = value
	}
	return m, nil
}

// Control is the engine's end of a control socket.
type Control struct {
	file *os.File
	conn syscall.RawConn
	recv *receiver
	buf  []byte

	sendMu sync.Mutex
}

// NewControlPair makes a control socket; peer is for the other process.
func NewControlPair() (c *Control, peer *os.File, err error) {
	engine, peer, err := socketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, nil, err
	}
	if c, err = NewControl(engine); err != nil {
		engine.Close()
		peer.Close()
		return nil, nil, err
	}
	return c, peer, nil
}

// NewControl takes over the engine's end of a socket pair that somebody else
// has made. The file must be non-blocking.
func NewControl(file *os.File) (*Control, error) {
	recv, err := newReceiver(file, 8)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &Control{file: file, conn: recv.conn, recv: recv, buf: make([]byte, maxControlMessage)}, nil
}

// Send sends a message with files. The files stay the caller's.
func (c *Control) Send(m Message) error {
	b, err := m.encode()
	if err != nil {
		return err
	}
	if len(m.Files) > maxPassedFDs {
		return fmt.Errorf("control message %s carries %d files, at most %d are allowed", m.Verb, len(m.Files), maxPassedFDs)
	}
	var rights []byte
	if len(m.Files) > 0 {
		fds := make([]int, len(m.Files))
		for i, f := range m.Files {
			raw, err := f.SyscallConn()
			if err != nil {
				return fmt.Errorf("control message %s: file %d: %w", m.Verb, i, err)
			}
			// Not f.Fd(): that would make a socket blocking which the engine still reads.
			if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
				return fmt.Errorf("control message %s: file %d: %w", m.Verb, i, err)
			}
		}
		rights = unix.UnixRights(fds...)
	}
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	if err := c.file.SetWriteDeadline(time.Now().Add(controlSendPatience)); err != nil {
		return fmt.Errorf("control message %s: %w", m.Verb, err)
	}
	var errno syscall.Errno
	err = c.conn.Write(func(fd uintptr) bool {
		errno = trySend(int(fd), b, rights)
		return errno != syscall.EAGAIN
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return fmt.Errorf("control message %s: %w", m.Verb, err)
	}
	return nil
}

// Receive waits for a message; io.EOF when the other side has gone.
func (c *Control) Receive() (Message, error) {
	n, fds, err := c.recv.receive(c.buf)
	if err != nil {
		return Message{}, err
	}
	m, err := decodeMessage(c.buf[:n])
	for _, fd := range fds {
		m.Files = append(m.Files, os.NewFile(uintptr(fd), "received"))
	}
	if err != nil {
		m.Close()
		return Message{}, err
	}
	return m, nil
}

// Close ends the conversation; a Receive under way returns.
func (c *Control) Close() error {
	err := c.file.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
