package pool

import "time"

// Policy is how large the pool may get (Passenger's max_pool_size and
// min_instances).
type Policy struct {
	Max int
	Min int
}

// View is what the policy looks at: the workers of one generation.
type View struct {
	Ready    int
	Starting int
	// Floor is how many workers the generation should have at least, beyond
	// Min: as many as the one it replaces has.
	Floor int
	// Short says that requests wait although every worker is busy.
	Short bool
}

// ToStart is how many workers to start now. Demand starts one at a time: the
// next one follows if there is still a need when the first is ready.
func (p Policy) ToStart(v View) int {
	have := v.Ready + v.Starting
	want := min(max(p.Min, v.Floor, 1), p.Max)
	if have < want {
		return want - have
	}
	if v.Short && v.Starting == 0 && have < p.Max {
		return 1
	}
	return 0
}

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
