package dispatch

import (
	"fmt"
	"net/http"

	"passenger/go/internal/link"
)

// maxInterim is how many interim responses a request may have. They wait for
// the client's goroutine without anybody waiting for that.
const maxInterim = 8

// interim reads the headers of an interim response, which comes before the
// response itself and leaves the call where it is.
func (r *reader) interim(h link.FrameHeader) error {
	if h.Status != http.StatusEarlyHints {
		return fmt.Errorf("frame interim has the status %d", h.Status)
	}
	headers, rest, err := r.stream.ReadHead(nil, h.Length)
	if err != nil {
		return err
	}
	if rest != 0 {
		return fmt.Errorf("frame interim has %d bytes behind its headers", rest)
	}
	d := r.g.d
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.call(h.ID)
	if c == nil || c.state != callSent || c.generation != r.g || c.ready == nil || c.interims == maxInterim || len(headers) == 0 {
		return nil // nobody waits for it
	}
	c.taken = true
	c.interims++
	c.ready <- headers // there is room for all of them
	return nil
}

// Interim waits for the next interim response (103 Early Hints) and returns its
// headers. nil: there is none any more, and Wait returns at once.
func (c *Call) Interim() link.Headers {
	if c.answered {
		return nil
	}
	headers := <-c.ready
	c.answered = headers == nil
	return headers
}
