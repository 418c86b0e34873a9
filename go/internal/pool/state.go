// Package pool decides how many application processes there should be and
// what may become of them. It does no I/O and has no clock: it is told what
// is, and says what is to be done.
package pool

import "fmt"

// WorkerState is where an application process is in its life.
type WorkerState uint8

// The states of a worker, in the order of its life; it may be away several times.
const (
	WorkerStarting WorkerState = iota // spawned, has not said ready
	WorkerReady                       // takes requests
	WorkerAway                        // does out-of-band work, and comes back
	WorkerLeaving                     // finishes what it has begun
	WorkerGone                        // has ended
)

func (s WorkerState) String() string {
	switch s {
	case WorkerStarting:
		return "starting"
	case WorkerReady:
		return "ready"
	case WorkerAway:
		return "away"
	case WorkerLeaving:
		return "leaving"
	case WorkerGone:
		return "gone"
	}
	return fmt.Sprintf("unknown(%d)", uint8(s))
}

var workerMoves = map[WorkerState][]WorkerState{
	WorkerStarting: {WorkerReady, WorkerLeaving, WorkerGone},
	WorkerReady:    {WorkerAway, WorkerLeaving, WorkerGone},
	WorkerAway:     {WorkerReady, WorkerLeaving, WorkerGone},
	WorkerLeaving:  {WorkerGone},
	WorkerGone:     {},
}

// GenerationState is where one loading of the app is in its life.
type GenerationState uint8

// The states of a generation, in the order of its life.
const (
	GenerationBooting  GenerationState = iota // the preloader loads the app, or no worker is ready yet
	GenerationServing                         // takes new requests
	GenerationRetiring                        // takes new requests until the next one has enough workers
	GenerationDraining                        // finishes what it has begun
	GenerationClosed                          // all its processes have ended
)

func (s GenerationState) String() string {
	switch s {
	case GenerationBooting:
		return "booting"
	case GenerationServing:
		return "serving"
	case GenerationRetiring:
		return "retiring"
	case GenerationDraining:
		return "draining"
	case GenerationClosed:
		return "closed"
	}
	return fmt.Sprintf("unknown(%d)", uint8(s))
}

var generationMoves = map[GenerationState][]GenerationState{
	GenerationBooting:  {GenerationServing, GenerationDraining},
	GenerationServing:  {GenerationRetiring, GenerationDraining},
	GenerationRetiring: {GenerationDraining, GenerationServing}, // the latter if its successor has failed
	GenerationDraining: {GenerationClosed},
	GenerationClosed:   {},
}

// state is what Move works on.
type state interface {
	WorkerState | GenerationState
	fmt.Stringer
}

// Move changes *s to next if the table of legal moves has it, and says what
// was wrong if not.
func Move[S state](s *S, next S) error {
	var legal bool
	switch from := any(*s).(type) {
	case WorkerState:
		legal = contains(workerMoves[from], any(next).(WorkerState))
	case GenerationState:
		legal = contains(generationMoves[from], any(next).(GenerationState))
	}
	if !legal {
		return fmt.Errorf("%s cannot become %s", *s, next)
	}
	*s = next
	return nil
}

func contains[S comparable](list []S, s S) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
