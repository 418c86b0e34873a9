package core

import "passenger/go/internal/link"

// monotonicNow is CLOCK_MONOTONIC in nanoseconds, the clock that workers read too.
func monotonicNow() int64 { return link.Now() }
