package procinfo

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of times in /proc/PID/stat. The kernel's own may be another;
// this one is part of its interface (USER_HZ).
const tick = time.Second / 100

func (s system) memory(pid int) (Usage, error) {
	text, err := s.file(directory(pid), "smaps_rollup")
	switch {
	case err == nil:
		return parseRollup(pid, text)
	case errors.Is(err, os.ErrPermission), errors.Is(err, os.ErrNotExist):
		// Not there at all means that the process has ended or that the kernel
		// is older than 4.14; statm tells which.
		return s.roughMemory(pid)
	default:
		return Usage{}, gone(pid, err)
	}
}

func (s system) roughMemory(pid int) (Usage, error) {
	pages, err := s.statm(pid)
	if err != nil {
		return Usage{}, err
	}
	rss := pages.resident * int64(os.Getpagesize())
	return Usage{RSS: rss, PSS: rss, PrivateDirty: (pages.resident - pages.shared) * int64(os.Getpagesize()), Rough: true}, nil
}

func (s system) rss(pid int) (int64, error) {
	pages, err := s.statm(pid)
	return pages.resident * int64(os.Getpagesize()), err
}

// parseRollup reads lines like "Pss:   123 kB" below a first one with addresses.
func parseRollup(pid int, text string) (Usage, error) {
	var u Usage
	wanted := map[string]*int64{"Rss": &u.RSS, "Pss": &u.PSS, "Private_Dirty": &u.PrivateDirty, "Swap": &u.Swap}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		field := wanted[name]
		if field == nil {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		if err != nil {
			return Usage{}, fmt.Errorf("/proc/%d/smaps_rollup: the line %q is not understood: %w", pid, strings.TrimSpace(line), err)
		}
		*field = kilobytes << 10
		delete(wanted, name)
	}
	if len(wanted) == 4 {
		return Usage{}, ErrGone // It has left its memory between opening and reading.
	}
	for name := range wanted {
		return Usage{}, fmt.Errorf("/proc/%d/smaps_rollup has no line %s", pid, name)
	}
	return u, nil
}

type statm struct{ resident, shared int64 } // pages

func (s system) statm(pid int) (statm, error) {
	text, err := s.file(directory(pid), "statm")
	if err != nil {
		return statm{}, gone(pid, err)
	}
	var size int64
	var pages statm
	if _, err := fmt.Sscan(text, &size, &pages.resident, &pages.shared); err != nil {
		return statm{}, fmt.Errorf("/proc/%d/statm: %q is not understood: %w", pid, text, err)
	}
	if size == 0 {
		return statm{}, ErrGone // A zombie.
	}
	return pages, nil
}

func (s system) cpuTime(pid int) (time.Duration, error) {
	text, err := s.file(directory(pid), "stat")
	if err != nil {
		return 0, gone(pid, err)
	}
	// The second field is the program's name in parentheses, which may hold
	// blanks and parentheses itself.
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q is not understood", pid, text)
	}
	var ticks int64
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %q is not understood: %w", pid, text, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// gone makes ErrGone of the errors by which the kernel says so.
func gone(pid int, err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return ErrGone
	}
	return fmt.Errorf("can't look at process %d: %w", pid, err)
}
