package procinfo

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
)

func (s system) limits() Resources {
	cpus, affinityErr := s.affinity()
	memory, totalErr := s.memTotal()
	allowed, groupErr := s.groupLimits()
	if memory == 0 || allowed.memory < memory {
		memory = allowed.memory
	}
	if memory == math.MaxInt64 {
		memory = 0
	}
	return Resources{
		CPUs:    min(cpus, allowed.cpus),
		Memory:  memory,
		Problem: errors.Join(affinityErr, totalErr, groupErr),
	}
}

// affinity is the number of processors that this process may run on. A cpuset
// of its control group is part of that.
func (s system) affinity() (float64, error) {
	text, err := s.file("/proc/self/status")
	if err != nil {
		return float64(runtime.NumCPU()), err
	}
	for line := range strings.Lines(text) {
		if list, found := strings.CutPrefix(line, "Cpus_allowed_list:"); found {
			count, err := countList(strings.TrimSpace(list))
			if err != nil {
				return float64(runtime.NumCPU()), fmt.Errorf("/proc/self/status: %w", err)
			}
			return float64(count), nil
		}
	}
	return float64(runtime.NumCPU()), errors.New("/proc/self/status has no line Cpus_allowed_list")
}

// countList counts the members of a list like "0-3,8".
func countList(list string) (int, error) {
	count := 0
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err = errors.Join(err, err2); err != nil || to < from {
			return 0, fmt.Errorf("the list of processors %q is not understood", list)
		}
		count += to - from + 1
	}
	return count, nil
}

func (s system) memTotal() (int64, error) {
	text, err := s.file("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, "MemTotal:"); found {
			kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("/proc/meminfo: the line %q is not understood: %w", strings.TrimSpace(line), err)
			}
			return kilobytes << 10, nil
		}
	}
	return 0, errors.New("/proc/meminfo has no line MemTotal")
}
