package dispatch

import (
	"slices"
)

// Serve makes g the one generation that takes requests, and starts with those
// that wait. What the others have not received goes to g, too: their workers
// are busy, or they would have taken it.
func (d *Dispatcher) Serve(g *Generation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.join(g)
	for _, other := range slices.Clone(d.serving) {
		if other != g {
			d.quit(other)
		}
	}
	d.pump()
}

// Join has g take requests beside the generations that do already.
func (d *Dispatcher) Join(g *Generation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.join(g)
	d.pump()
}

// Quit has g take no more requests. Those that none of its workers has
// received return to the head of the line.
func (d *Dispatcher) Quit(g *Generation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.quit(g)
	d.pump()
}

func (d *Dispatcher) join(g *Generation) {
	d.refusal = nil
	if !g.serving {
		g.serving = true
		d.serving = append(d.serving, g)
		d.note()
	}
}

func (d *Dispatcher) quit(g *Generation) {
	if g.serving {
		g.serving = false
		d.serving = slices.DeleteFunc(d.serving, func(s *Generation) bool { return s == g })
	}
	d.takeBack(g, nil)
	for _, s := range g.seats {
		d.takeBackFrom(s)
	}
	d.requeue()
}

// choose finds the generation for the next request, nil if none has credit:
// the one with the most idle slots, the newer of equals; if all slots are busy,
// the one whose slots have the least work each. d.mu is held.
func (d *Dispatcher) choose() *Generation {
	if len(d.serving) == 1 {
		if g := d.serving[0]; g.load() < g.credit() {
			return g
		}
		return nil
	}
	var best *Generation
	var bestLoad int
	for i := len(d.serving) - 1; i >= 0; i-- {
		g := d.serving[i]
		load := g.load()
		if load < g.credit() && (best == nil || better(load, g.slots, bestLoad, best.slots)) {
			best, bestLoad = g, load
		}
	}
	return best
}

// better reports whether slots with that load are to be preferred to others.
func better(load, slots, otherLoad, otherSlots int) bool {
	idle, otherIdle := slots-load, otherSlots-otherLoad
	if idle > 0 || otherIdle > 0 {
		return idle > otherIdle
	}
	return load*otherSlots < otherLoad*slots
}

// credit is how much may be sent to the workers of g before they answer.
func (g *Generation) credit() int { return g.slots * (1 + lookAhead) }

// load is how much of that is used: what is sent and not finished, without
// what waits for a particular worker, and without what workers that take no
// more requests still work on.
func (g *Generation) load() int {
	load := g.outstanding - g.behind
	if len(g.left) > 0 {
		load -= g.away()
	}
	return max(load, 0)
}

// away is how many requests are in work at seats that have left.
func (g *Generation) away() int {
	n := 0
	for _, s := range g.left {
		for _, i := range s.indexes {
			if g.d.call(g.board.RequestID(i)) != nil {
				n++
			}
		}
	}
	return n
}

// takeBack takes requests that nobody has received out of a queue: the direct
// one of s, or the common one of g if s is nil. They are gathered in d.back for
// requeue. What is not found there any more has been received. d.mu is held.
func (d *Dispatcher) takeBack(g *Generation, s *Seat) {
	queue := g.queue
	if s != nil {
		queue = s.direct
	}
	for _, id := range queue.Drain() {
		if c := d.call(id); c != nil && c.state == callSent {
			d.settle(c)
			d.back = append(d.back, c)
		}
	}
	for _, c := range d.calls {
		if c != nil && c.generation == g && c.seat == s {
			c.taken = true
		}
	}
}

// requeue answers the requests that have been taken back, or puts them at the
// head of the line; those for a certain worker that is still there at the head
// of its own. d.mu is held.
func (d *Dispatcher) requeue() {
	slices.SortStableFunc(d.back, func(a, b *Call) int { return int(a.submitted - b.submitted) })
	for _, c := range slices.Backward(d.back) {
		switch {
		case d.spent(c):
		case d.refusal != nil:
			d.fail(c, d.refusal)
		default:
			l := &d.line
			if s := d.wanted(c); s != nil {
				l = &s.line
			}
			l.prepend(c)
			d.waiting++
			d.watch()
		}
	}
	clear(d.back)
	d.back = d.back[:0]
}

// note keeps the peak; d.mu is held.
func (d *Dispatcher) note() {
	d.peak = max(d.peak, d.present())
}

// present is how many requests there are, waiting or with workers that serve.
func (d *Dispatcher) present() int {
	n := d.waiting
	for _, g := range d.serving {
		n += g.outstanding
	}
	return n
}
