package pool

import "time"

// Backoff is the distance between attempts that keep failing.
type Backoff struct {
	First, Longest time.Duration
}

// After is how long to wait after the given number of failures in a row.
func (b Backoff) After(failures int) time.Duration {
	d := b.First
	for i := 1; i < failures && d < b.Longest; i++ {
		d *= 2
	}
	return min(d, b.Longest)
}

// Brake keeps workers that die as soon as they serve, or that do not get that
// far, from being started over and over: each is forked, reads half the app's
// memory and dies, and the machine does nothing else. A worker that has done
// some work before it dies does not count, however many of them die.
type Brake struct {
	Backoff Backoff
	// Free is how many failures in a row bring no delay.
	Free int
	// Lasting is how long a worker must have been ready for its end not to
	// count, if it has finished no request.
	Lasting time.Duration

	failures int
	until    time.Time
}

// Died notes the end of a worker that nobody had told to leave. lived is how
// long it was ready.
func (b *Brake) Died(now time.Time, lived time.Duration, finished uint64) {
	if b.Proves(lived, finished) {
		b.Release()
		return
	}
	b.Failed(now)
}

// Failed notes a worker that could not be started.
func (b *Brake) Failed(now time.Time) {
	b.failures++
	if b.failures > b.Free {
		b.until = now.Add(b.Backoff.After(b.failures - b.Free))
	}
}

// Proves reports whether a worker that has been ready for that long, and has
// finished that many requests, is one that does not die as soon as it serves.
func (b *Brake) Proves(lived time.Duration, finished uint64) bool {
	return finished > 0 || lived >= b.Lasting
}

// Release is called when a worker has shown that it can serve.
func (b *Brake) Release() { b.failures, b.until = 0, time.Time{} }

// Wait is how long to wait before the next worker is started, 0 if not at all.
func (b *Brake) Wait(now time.Time) time.Duration { return max(b.until.Sub(now), 0) }

// Failures is how many there have been in a row.
func (b *Brake) Failures() int { return b.failures }

// On reports whether the failures are so many that starts are delayed.
func (b *Brake) On() bool { return b.failures > b.Free }
