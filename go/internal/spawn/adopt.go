package spawn

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Adopting makes this process the parent of descendants whose own parent has
// died (PR_SET_CHILD_SUBREAPER): the workers of a preloader that has left, and
// a preloader that was forked from a worker. Without it they would go to process 1,
// which in a container may be a program that never reaps.
func Adopting() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_CHILD_SUBREAPER: %w", err)
	}
	return nil
}

// siginfo is the kernel's siginfo_t for a child, on 64-bit systems.
type siginfo struct {
	_   [4]int32
	pid int32
	_   [108]byte
}

// ReapStrangers collects ended children of this process that it has not
// started: daemons of the app whose parents have died. known says which ones
// somebody else waits for. It must not be called in a process in which other
// code waits for children that it has started.
func ReapStrangers(known func(pid int) bool) {
	for {
		var info siginfo
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 || info.pid == 0 || known(int(info.pid)) {
			return // one that is known is reaped soon, and the next call gets further
		}
		reap(int(info.pid))
	}
}
