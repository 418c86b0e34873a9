package tunnel

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// direction is one half of a tunnel. A goroutine runs it while bytes flow; when
// there are none it is parked, and costs nothing but its place in the tunnel
// until the watcher finds that something has come.
type direction struct {
	t     *tunnel
	state atomic.Uint32
	// staying: it is not parked any more.
	staying atomic.Bool
	// deaf: the target takes no more, what comes is dropped.
	deaf bool
}

// The states of a direction.
const (
	parked  uint32 = iota
	running        // somebody runs it
	again          // and something has come meanwhile
	over
)

// wake is called when something may have come. True: the caller runs it now.
func (d *direction) wake() bool {
	for {
		switch d.state.Load() {
		case parked:
			if d.state.CompareAndSwap(parked, running) {
				return true
			}
		case running:
			if d.state.CompareAndSwap(running, again) {
				return false
			}
		default:
			return false
		}
	}
}

// park is called by whoever runs it, when nothing was there to read. False:
// something may have come meanwhile, or it is not to be parked.
func (d *direction) park() bool {
	if !d.staying.Load() && d.state.CompareAndSwap(running, parked) {
		return true
	}
	d.state.Store(running)
	return false
}

func (d *direction) upwards() bool { return d == &d.t.up }

func (d *direction) ends() (from, to side) {
	if d.upwards() {
		return d.t.client, d.t.app
	}
	return d.t.app, d.t.client
}

// run passes bytes on, from first, which have been read already, to the end or
// until there are no more. failed is what the source has said behind them.
func (d *direction) run(first []byte, failed error) {
	from, to := d.ends()
	p := takePump(from, to, &d.staying)
	how := d.start(p, first, failed)
	for how == sourceQuiet && !d.park() {
		how = d.pump(p)
	}
	p.giveBack()
	if how != sourceQuiet {
		d.state.Store(over)
		d.finish(how)
	}
}

func (d *direction) start(p *pump, first []byte, failed error) end {
	if !d.deaf {
		if _, err := p.write(first); err != nil {
			if !d.upwards() {
				return targetFailed
			}
			d.deaf = true
		}
	}
	if failed != nil {
		return endOf(failed)
	}
	return d.pump(p)
}

func (d *direction) pump(p *pump) end {
	if !d.deaf {
		how := p.run()
		if how != targetFailed || !d.upwards() {
			return how
		}
		d.deaf = true // the app reads no more, but may still have something to say
	}
	return p.discard()
}

// finish passes the end on.
func (d *direction) finish(how end) {
	defer d.t.ended()
	switch {
	case d.upwards() && how == sourceEnded:
		if !d.deaf {
			d.t.shutApp(unix.SHUT_WR)
		}
	case d.upwards(), how == targetFailed:
		d.t.fail()
	default:
		// An app that has closed its socket with bytes unread looks like one that
		// has failed. All it has written has been read.
		closeWrite(d.t.ends.Client)
		d.t.awaitHangup()
		d.t.set.lingers(d.t)
	}
}
