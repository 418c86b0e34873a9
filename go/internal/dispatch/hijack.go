package dispatch

import (
	"fmt"
	"net/http"
	"os"

	"golang.org/x/sys/unix"

	"passenger/go/internal/link"
)

// hijack delivers the socket of an app that takes the client's connection over.
// The slot stays taken until the app has returned: its request may go on
// talking to the client.
func (r *reader) hijack(rest int) error {
	c := r.call
	if c.Status != 0 && (c.Status < http.StatusSwitchingProtocols || c.Status > 999) || rest != 0 {
		return fmt.Errorf("frame hijack has the status %d and %d bytes behind its headers", c.Status, rest)
	}
	fd, err := r.stream.TakeFile()
	if err != nil {
		return err
	}
	// Otherwise waiting for it would hold a thread.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return fmt.Errorf("socket of a hijacked connection: %w", err)
	}
	c.Socket = os.NewFile(uintptr(fd), "hijacked connection")
	r.call, r.hijacked = r.g.d.detach(c), true
	c.answer(nil)
	return nil
}

// afterHijack reads the one frame that follows: the app has returned.
func (r *reader) afterHijack(h link.FrameHeader) error {
	if h.Type != link.FrameEnd && h.Type != link.FrameAborted {
		return fmt.Errorf("frame %s came after a hijack", h.Type)
	}
	if err := r.stream.Discard(h.Length); err != nil {
		return err
	}
	c := r.call
	r.call, r.hijacked = nil, false
	r.finished(c)
	return nil
}
