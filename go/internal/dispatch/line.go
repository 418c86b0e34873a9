package dispatch

import "passenger/go/internal/link"

// line is a FIFO of waiting calls. Guarded by the dispatcher's lock.
type line struct {
	first, last *Call
	next        *Call // whose client is looked at next
}

func (l *line) append(c *Call) {
	c.state, c.line = callWaiting, l
	c.prev, c.next = l.last, nil
	if l.last != nil {
		l.last.next = c
	} else {
		l.first = c
	}
	l.last = c
}

// prepend returns a call to the head.
func (l *line) prepend(c *Call) {
	c.state, c.line = callWaiting, l
	c.prev, c.next = nil, l.first
	if l.first != nil {
		l.first.prev = c
	} else {
		l.last = c
	}
	l.first = c
}

func (l *line) remove(c *Call) {
	if l.next == c {
		l.next = c.next
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		l.last = c.prev
	}
	c.prev, c.next, c.line = nil, nil, nil
	c.state = callNew
}

// wait puts a call at the end of a line, if there is room; d.mu is held.
func (d *Dispatcher) wait(l *line, c *Call) error {
	if d.options.MaxWaiting > 0 && d.waiting >= d.options.MaxWaiting {
		d.full++
		return ErrQueueFull
	}
	l.append(c)
	d.waiting++
	d.note()
	d.watch()
	return nil
}

// leave takes a call out of its line; d.mu is held.
func (d *Dispatcher) leave(c *Call) {
	c.line.remove(c)
	d.waiting--
}

// pump sends what waits as far as there is credit; d.mu is held.
func (d *Dispatcher) pump() {
	for d.line.first != nil {
		g := d.choose()
		if g == nil {
			return
		}
		c := d.line.first
		d.leave(c)
		if !d.spent(c) && !d.send(g, nil, c) {
			d.line.prepend(c)
			d.waiting++
			return
		}
	}
}

// spent answers a call that need not be sent any more, because its client has
// hung up or because it has waited for too long. d.mu is held, and the call is
// neither in line nor in the table.
func (d *Dispatcher) spent(c *Call) bool {
	if c.Client == nil && d.options.MaxQueueTime == 0 {
		return false
	}
	waited := link.Now() - c.submitted
	switch {
	case c.gone || c.Client != nil && waited >= int64(patience) && d.probe.gone(c.Client):
		d.abandoned++
		d.fail(c, ErrClientGone)
	case d.overdue(waited):
		d.timeouts++
		d.fail(c, ErrQueueTimeout)
	default:
		return false
	}
	return true
}

func (d *Dispatcher) overdue(waited int64) bool {
	return d.options.MaxQueueTime > 0 && waited > int64(d.options.MaxQueueTime)
}
