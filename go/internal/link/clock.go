package link

import (
	"time"

	"golang.org/x/sys/unix"
)

// The two clocks read at the same moment: Go's own monotonic clock is
// CLOCK_MONOTONIC with another zero, and reading it takes no system call.
var (
	clockBase     = time.Now()
	monotonicBase = func() int64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			panic("CLOCK_MONOTONIC: " + err.Error())
		}
		return ts.Nano()
	}()
)

// Now is CLOCK_MONOTONIC in nanoseconds, the clock that workers read too.
func Now() int64 { return monotonicBase + int64(time.Since(clockBase)) }
