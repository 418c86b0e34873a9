// Package procinfo reads from /proc and the control groups what a pool of
// processes has to know: what each process uses, and how much of the machine
// there is to be used at all.
package procinfo

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// ErrGone says that a process has ended, be it before or while it was looked
// at. A process that has ended and was not waited for yet has no memory either.
var ErrGone = errors.New("the process has ended")

// Usage is what one process holds in memory, in bytes.
type Usage struct {
	RSS          int64 // resident, pages shared with others counted in full
	PSS          int64 // resident, each page divided by the number of processes that share it
	PrivateDirty int64 // resident, written to, and shared with nobody
	Swap         int64
	// Rough says that smaps_rollup could not be read, as of another user's
	// process or under an old kernel: PSS is RSS then and PrivateDirty all that
	// is not from a file. Both are upper bounds. Swap is not known.
	Rough bool
}

// Resources are what this process and its children may use, all together.
type Resources struct {
	CPUs   float64 // 1.5: one and a half processors
	Memory int64   // bytes; 0: can't be told
	// Problem names what could not be read; nil if everything could be. What
	// was read all the same is in the fields above.
	Problem error
}

// Memory tells what a process holds. The kernel walks all its pages for that:
// milliseconds for a large one.
func Memory(pid int) (Usage, error) { return machine.memory(pid) }

// RSS is the resident memory of a process, in bytes. It costs next to nothing.
func RSS(pid int) (int64, error) { return machine.rss(pid) }

// CPUTime is the time that all threads of a process have run so far.
func CPUTime(pid int) (time.Duration, error) { return machine.cpuTime(pid) }

// Limits tells how much of the machine may be used: what the processor affinity
// and all control groups up the hierarchy allow.
func Limits() Resources { return machine.limits() }

// system is a file system with /proc and /sys/fs/cgroup in it.
type system struct {
	root string
	read func(path string) ([]byte, error)
}

var machine = system{root: "/", read: os.ReadFile}

func (s system) file(path ...string) (string, error) {
	text, err := s.read(filepath.Join(s.root, filepath.Join(path...)))
	return string(text), err
}

func directory(pid int) string {
	return "/proc/" + strconv.Itoa(pid)
}
