package pool

// Policy is how large the pool may get (Passenger's max_pool_size and
// min_instances), and how much larger while processes are being replaced.
type Policy struct {
	Max int
	Min int
	// Surge is how many processes beyond Max there may be while others wait to
	// be replaced: with none, replacing one would cost capacity.
	Surge int
}

// View is what the policy looks at.
type View struct {
	Target int // how many workers there should be, see Scaler
	Ready  int // take requests, and are to stay
	// Unproven are those that have just become ready: they may be about to die,
	// so that nobody leaves because of them.
	Unproven int
	// Away are those that are to stay and take no requests just now.
	Away     int
	Starting int
	// Retiring take requests until another one has taken their place.
	Retiring int
}

// Step is what to do next.
type Step struct {
	Start int // workers to start
	Leave int // retiring workers that may leave now
}

// Next says what brings the pool nearer to its target. Retiring workers leave
// only when as many others as are wanted take requests: capacity never falls
// below what it was, or below the target if that has become smaller. They are
// replaced Surge at a time; what is missing is started at once.
func (p Policy) Next(v View) Step {
	target := min(max(v.Target, p.Min, 0), p.Max)
	staying := v.Ready + v.Unproven + v.Away + v.Starting
	missing := max(target-staying-v.Retiring, 0)
	successors := max(min(target-staying-missing, p.Surge-v.Starting), 0)
	room := p.Max - staying - v.Retiring
	if v.Retiring > 0 {
		room += p.Surge
	}
	return Step{
		Start: max(min(missing+successors, room), 0),
		Leave: max(min(v.Ready+v.Retiring-target, v.Retiring), 0),
	}
}

// First is how many workers a generation begins with that is to take over
// from another: at once all that there should be, or as many as one step of a
// rolling restart replaces.
func (p Policy) First(target int, rolling bool) int {
	target = min(max(target, p.Min, 1), p.Max)
	if rolling {
		return min(target, p.Surge)
	}
	return target
}
