package procinfo

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// allowance is what control groups leave of the machine.
type allowance struct {
	cpus   float64 // +Inf: no limit
	memory int64   // math.MaxInt64: no limit
}

// membership is one line of /proc/self/cgroup: the group of one hierarchy that
// this process belongs to.
type membership struct {
	controllers []string // none: version 2
	path        string
}

// mount is a place where a hierarchy, or a part of it, is seen.
type mount struct {
	root        string // the group that is seen at the point
	point       string
	controllers []string // none: version 2
}

// groupLimits is the tightest limit of all groups that this process is in,
// from its own to the uppermost that is to be seen, in every hierarchy: a
// machine may have both versions at once.
func (s system) groupLimits() (allowance, error) {
	least := allowance{cpus: math.Inf(1), memory: math.MaxInt64}
	text, err := s.file("/proc/self/cgroup")
	if errors.Is(err, os.ErrNotExist) {
		return least, nil // A kernel without control groups.
	}
	if err != nil {
		return least, err
	}
	mounts, err := s.mounts()
	if err != nil {
		return least, err
	}
	var problems []error
	for line := range strings.Lines(text) {
		group, err := parseMembership(strings.TrimSuffix(line, "\n"))
		if err != nil {
			problems = append(problems, err)
			continue
		}
		for _, m := range mounts {
			if !m.shows(group) {
				continue
			}
			for _, dir := range m.directories(group.path) {
				problems = append(problems, s.tighten(&least, dir, m.controllers))
			}
		}
	}
	return least, errors.Join(problems...)
}

// tighten takes the limits of one group into account.
func (s system) tighten(least *allowance, dir string, controllers []string) error {
	var errs []error
	limit := func(name string, read func(text string) error) {
		text, err := s.file(dir, name)
		if errors.Is(err, os.ErrNotExist) {
			return // The root group, or the controller is not enabled here.
		}
		if err == nil {
			err = read(strings.TrimSpace(text))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path.Join(dir, name), err))
		}
	}
	memory := func(text string) error { return lowerMemory(&least.memory, text) }
	if len(controllers) == 0 {
		limit("cpu.max", func(text string) error {
			quota, period, _ := strings.Cut(text, " ")
			return lowerCPUs(&least.cpus, quota, period)
		})
		limit("memory.max", memory)
		// Beyond this one the kernel does not kill but slows down until nothing
		// moves any more: no place for a pool to grow to.
		limit("memory.high", memory)
	}
	if slices.Contains(controllers, "cpu") {
		limit("cpu.cfs_quota_us", func(quota string) error {
			period, err := s.file(dir, "cpu.cfs_period_us")
			if err != nil {
				return err
			}
			return lowerCPUs(&least.cpus, quota, strings.TrimSpace(period))
		})
	}
	if slices.Contains(controllers, "memory") {
		limit("memory.limit_in_bytes", memory)
	}
	return errors.Join(errs...)
}

// lowerCPUs reads a quota of processor time per period; "max" and -1 are none.
func lowerCPUs(least *float64, quota, period string) error {
	if quota == "max" || quota == "-1" {
		return nil
	}
	q, err := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err = errors.Join(err, err2); err != nil || q <= 0 || p <= 0 {
		return fmt.Errorf("a quota of %q in a period of %q is not understood", quota, period)
	}
	*least = min(*least, q/p)
	return nil
}

// lowerMemory reads a number of bytes; "max" is none. Version 1 writes "none"
// as a number larger than any memory, which needs no care.
func lowerMemory(least *int64, text string) error {
	if text == "max" {
		return nil
	}
	bytes, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not understood: %w", text, err)
	}
	*least = min(*least, bytes)
	return nil
}

// parseMembership reads "4:cpu,cpuacct:/docker/1a2b" or, of version 2, "0::/user.slice".
// A path may hold colons itself.
func parseMembership(line string) (membership, error) {
	parts := strings.SplitN(line, ":", 3)
	if len(parts) != 3 || !strings.HasPrefix(parts[2], "/") {
		return membership{}, fmt.Errorf("/proc/self/cgroup: the line %q is not understood", line)
	}
	m := membership{path: strings.TrimSuffix(parts[2], " (deleted)")}
	if parts[1] != "" {
		m.controllers = strings.Split(parts[1], ",")
	}
	return m, nil
}

// mounts are those of hierarchies that limit processors or memory.
func (s system) mounts() ([]mount, error) {
	text, err := s.file("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []mount
	for line := range strings.Lines(text) {
		// 36 35 98:0 /root /point rw,noatime optional… - cgroup source rw,cpu,cpuacct
		before, after, _ := strings.Cut(line, " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if len(place) < 5 || len(kind) < 3 {
			continue
		}
		m := mount{root: unescape(place[3]), point: unescape(place[4])}
		switch kind[0] {
		case "cgroup2":
			found = append(found, m)
		case "cgroup":
			for option := range strings.SplitSeq(kind[2], ",") {
				if option == "cpu" || option == "memory" {
					m.controllers = append(m.controllers, option)
				}
			}
			if m.controllers != nil {
				found = append(found, m)
			}
		}
	}
	return found, nil
}

// shows tells whether the mount is one of the group's hierarchy.
func (m mount) shows(group membership) bool {
	if len(m.controllers) == 0 || len(group.controllers) == 0 {
		return len(m.controllers) == len(group.controllers)
	}
	return slices.Contains(group.controllers, m.controllers[0])
}

// directories are those of a group and of all groups above it that the mount
// shows. In a container the mount may show less than the path says: then the
// mount's uppermost group is the nearest that there is to be looked at.
func (m mount) directories(group string) []string {
	relative := "/"
	if m.root == "/" {
		relative = group
	} else if rest, below := strings.CutPrefix(group, m.root); below && (rest == "" || rest[0] == '/') {
		relative = "/" + rest
	}
	if strings.HasPrefix(relative, "/..") { // The group is outside of this process's cgroup namespace.
		relative = "/"
	}
	var dirs []string
	for relative = path.Clean(relative); ; relative = path.Dir(relative) {
		dirs = append(dirs, path.Join(m.point, relative))
		if relative == "/" {
			return dirs
		}
	}
}

// unescape undoes what mountinfo does to blanks, tabs, newlines and backslashes.
func unescape(text string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(text)
}
