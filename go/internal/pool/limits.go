package pool

import "time"

// Limits are what a worker may use before it is replaced; 0 means no limit.
type Limits struct {
	Requests   int   // Passenger's max_requests
	Memory     int64 // bytes, memory_limit: it leaves after its requests
	HardMemory int64 // bytes, hard_memory_limit: it is killed
}

// Use is what a worker has used.
type Use struct {
	Requests uint64 // that it has finished
	Working  int    // that it works on
	Memory   int64  // bytes, as it was measured last; 0 while that is not known
	Now      int64  // bytes at this moment, at least if that is more than HardMemory
}

// Verdict is what a limit asks for.
type Verdict uint8

// The verdicts, the more severe the higher.
const (
	Keep    Verdict = iota
	Replace         // by another worker, without losing a request
	Kill            // at once
)

// The reasons for which workers are replaced, as status and log have them.
const (
	ReasonRestart    = "restart"
	ReasonIdle       = "idle"
	ReasonRequests   = "max_requests"
	ReasonMemory     = "memory_limit"
	ReasonHardMemory = "hard_memory_limit"
	ReasonTime       = "max_request_time"
	ReasonDetached   = "detached"
	ReasonRefork     = "refork_after"
)

// Judge says what is to become of a worker, and because of which limit.
func (l Limits) Judge(u Use) (Verdict, string) {
	switch {
	case l.HardMemory > 0 && max(u.Memory, u.Now) > l.HardMemory:
		return Kill, ReasonHardMemory
	// One that takes too much from birth would be replaced by its like for ever:
	// it is to do something at least.
	case l.Memory > 0 && u.Memory > l.Memory && (u.Requests > 0 || u.Working > 0):
		return Replace, ReasonMemory
	case l.Requests > 0 && u.Requests >= uint64(l.Requests):
		return Replace, ReasonRequests
	}
	return Keep, ""
}

// Overtime says what becomes of a worker with requests that have taken too
// long. Such a worker takes no further ones and is killed as soon as nothing
// else would be lost: when all it still works on is overdue, for at least a
// grace in which Ruby tells where it hangs.
func Overtime(overdue, working int, since, grace time.Duration) Verdict {
	switch {
	case overdue == 0:
		return Keep
	case overdue >= working && since >= grace:
		return Kill
	}
	return Replace
}
