package procinfo

import (
	"maps"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

const (
	gigabyte = int64(1) << 30
	unified  = "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	splitCPU = "32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	splitMem = "33 24 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	disk     = "23 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
	noLimit  = "9223372036854771712\n"
)

// machineOf has eight processors, of which six may be used, 16 GB, and the files given.
func machineOf(t *testing.T, files map[string]string) system {
	t.Helper()
	all := map[string]string{
		"proc/self/status":    "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-3,6-7\nMems_allowed:\t1\n",
		"proc/meminfo":        "MemTotal:       16777216 kB\nMemFree:         1 kB\n",
		"proc/self/cgroup":    "0::/\n",
		"proc/self/mountinfo": disk + unified,
	}
	maps.Copy(all, files)
	return tree(t, all)
}

var limited = map[string]struct {
	files  map[string]string
	cpus   float64
	memory int64
}{
	"no limit: affinity and total": {nil, 6, 16 * gigabyte},
	"no control groups at all":     {map[string]string{"proc/self/mountinfo": disk}, 6, 16 * gigabyte},
	"version 2": {map[string]string{
		"proc/self/cgroup": "0::/system.slice/app.service\n",
		"sys/fs/cgroup/system.slice/app.service/cpu.max":     "150000 100000\n",
		"sys/fs/cgroup/system.slice/app.service/memory.max":  "2147483648\n",
		"sys/fs/cgroup/system.slice/app.service/memory.high": "max\n",
	}, 1.5, 2 * gigabyte},
	"version 2, limited further up": {map[string]string{
		"proc/self/cgroup":               "0::/a/b/c\n",
		"sys/fs/cgroup/a/b/c/cpu.max":    "max 100000\n",
		"sys/fs/cgroup/a/b/c/memory.max": "max\n",
		"sys/fs/cgroup/a/b/cpu.max":      "200000 50000\n",
		"sys/fs/cgroup/a/b/memory.max":   "4294967296\n",
		"sys/fs/cgroup/a/cpu.max":        "50000 100000\n",
		"sys/fs/cgroup/a/memory.max":     "1073741824\n",
	}, 0.5, gigabyte},
	"version 2, slowed down before it is killed": {map[string]string{
		"sys/fs/cgroup/memory.max": "4294967296\n", "sys/fs/cgroup/memory.high": "3221225472\n",
	}, 6, 3 * gigabyte},
	"version 2 in a namespace of its own": {map[string]string{
		"sys/fs/cgroup/cpu.max": "200000 100000\n", "sys/fs/cgroup/memory.max": "1073741824\n",
	}, 2, gigabyte},
	"version 2, outside of the namespace": {map[string]string{
		"proc/self/cgroup": "0::/../other\n", "sys/fs/cgroup/cpu.max": "100000 100000\n",
	}, 1, 16 * gigabyte},
	"version 2 in a container that sees its own group only": {map[string]string{
		"proc/self/cgroup":          "0::/docker/1a/sub\n",
		"proc/self/mountinfo":       strings.Replace(unified, " / /sys", " /docker/1a /sys", 1),
		"sys/fs/cgroup/cpu.max":     "400000 100000\n",
		"sys/fs/cgroup/sub/cpu.max": "300000 100000\n",
	}, 3, 16 * gigabyte},
	"a mount of another container's group": {map[string]string{
		"proc/self/cgroup":      "0::/docker/1abc\n",
		"proc/self/mountinfo":   strings.Replace(unified, " / /sys", " /docker/1a /sys", 1),
		"sys/fs/cgroup/cpu.max": "100000 100000\n",
	}, 1, 16 * gigabyte},
	"version 1": {map[string]string{
		"proc/self/cgroup":    "5:memory:/docker/1a\n4:cpu,cpuacct:/docker/1a\n1:name=systemd:/x\n",
		"proc/self/mountinfo": disk + splitCPU + splitMem,
		"sys/fs/cgroup/cpu,cpuacct/docker/1a/cpu.cfs_quota_us":  "250000\n",
		"sys/fs/cgroup/cpu,cpuacct/docker/1a/cpu.cfs_period_us": "100000\n",
		"sys/fs/cgroup/memory/docker/1a/memory.limit_in_bytes":  "536870912\n",
		"sys/fs/cgroup/memory/memory.limit_in_bytes":            noLimit,
	}, 2.5, gigabyte / 2},
	"version 1, limited further up": {map[string]string{
		"proc/self/cgroup":                                "5:memory:/a/b\n4:cpu,cpuacct:/a/b\n",
		"proc/self/mountinfo":                             splitCPU + splitMem,
		"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us":  "-1\n",
		"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n",
		"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us":    "100000\n",
		"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us":   "100000\n",
		"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes":  noLimit,
		"sys/fs/cgroup/memory/a/memory.limit_in_bytes":    "1073741824\n",
	}, 1, gigabyte},
	"version 1 without limits": {map[string]string{
		"proc/self/cgroup":                           "5:memory:/\n4:cpu,cpuacct:/\n",
		"proc/self/mountinfo":                        splitCPU + splitMem,
		"sys/fs/cgroup/memory/memory.limit_in_bytes": noLimit,
	}, 6, 16 * gigabyte},
	"version 1, both controllers in one hierarchy": {map[string]string{
		"proc/self/cgroup":         "5:cpu,memory:/\n",
		"proc/self/mountinfo":      "33 24 0:29 / /cg rw - cgroup cgroup rw,cpu,memory\n",
		"cg/cpu.cfs_quota_us":      "100000\n",
		"cg/cpu.cfs_period_us":     "50000\n",
		"cg/memory.limit_in_bytes": "1073741824\n",
	}, 2, gigabyte},
	"both versions at once": {map[string]string{
		"proc/self/cgroup":                             "5:memory:/m\n0::/u\n",
		"proc/self/mountinfo":                          splitMem + strings.Replace(unified, "/sys/fs/cgroup", "/sys/fs/cgroup/unified", 1),
		"sys/fs/cgroup/memory/m/memory.limit_in_bytes": "1073741824\n",
		"sys/fs/cgroup/unified/u/cpu.max":              "200000 100000\n",
	}, 2, gigabyte},
	"a mount point with a blank": {map[string]string{
		"proc/self/mountinfo": strings.Replace(unified, "/sys/fs/cgroup", `/my\040groups`, 1),
		"my groups/cpu.max":   "100000 100000\n",
	}, 1, 16 * gigabyte},
	"a quota above the affinity": {map[string]string{"sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 6, 16 * gigabyte},
}

func TestLimitsAreTheTightestOfAll(t *testing.T) {
	for name, test := range limited {
		t.Run(name, func(t *testing.T) {
			got := machineOf(t, test.files).limits()
			if got.CPUs != test.cpus || got.Memory != test.memory || got.Problem != nil {
				t.Errorf("found %+v, expected %v processors and %d bytes", got, test.cpus, test.memory)
			}
		})
	}
}

func TestAKernelWithoutControlGroupsLimitsNothing(t *testing.T) {
	got := machineOf(t, nil).refusing("proc/self/cgroup", syscall.ENOENT).limits()
	if got.CPUs != 6 || got.Memory != 16*gigabyte || got.Problem != nil {
		t.Errorf("found %+v", got)
	}
}

func TestWhatCannotBeReadIsSaidAndTheRestIsUsed(t *testing.T) {
	quota := map[string]string{"sys/fs/cgroup/cpu.max": "100000 100000\n", "sys/fs/cgroup/memory.max": "1073741824\n"}
	for name, test := range map[string]struct {
		refused, want string
		cpus          float64
		memory        int64
	}{
		"the affinity":     {"proc/self/status", "proc/self/status", 1, gigabyte},
		"the total":        {"proc/meminfo", "proc/meminfo", 1, gigabyte},
		"the group":        {"proc/self/cgroup", "proc/self/cgroup", 6, 16 * gigabyte},
		"the mounts":       {"proc/self/mountinfo", "proc/self/mountinfo", 6, 16 * gigabyte},
		"one of its files": {"sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu.max", 6, gigabyte},
	} {
		t.Run(name, func(t *testing.T) {
			got := machineOf(t, quota).refusing(test.refused, syscall.EACCES).limits()
			if got.CPUs != test.cpus || got.Memory != test.memory || got.Problem == nil || !strings.Contains(got.Problem.Error(), test.want) {
				t.Errorf("found %+v", got)
			}
		})
	}
}

func TestLimitsThatAreNotUnderstoodAreQuoted(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"a list":       {map[string]string{"proc/self/status": "Cpus_allowed_list:\t3-x\n"}, `the list of processors "3-x" is not understood`},
		"an odd range": {map[string]string{"proc/self/status": "Cpus_allowed_list:\t3-1\n"}, `the list of processors "3-1" is not understood`},
		"no list":      {map[string]string{"proc/self/status": "Name:\tx\n"}, "no line Cpus_allowed_list"},
		"no total":     {map[string]string{"proc/meminfo": "MemFree: 1 kB\n"}, "no line MemTotal"},
		"a total":      {map[string]string{"proc/meminfo": "MemTotal: much kB\n"}, `the line "MemTotal: much kB" is not understood`},
		"a quota":      {map[string]string{"sys/fs/cgroup/cpu.max": "half 100000\n"}, `/sys/fs/cgroup/cpu.max: a quota of "half" in a period of "100000"`},
		"no period":    {map[string]string{"sys/fs/cgroup/cpu.max": "100000\n"}, `a quota of "100000" in a period of ""`},
		"bytes":        {map[string]string{"sys/fs/cgroup/memory.max": "1 GB\n"}, `/sys/fs/cgroup/memory.max: "1 GB" is not understood`},
		"a group":      {map[string]string{"proc/self/cgroup": "nonsense\n"}, `the line "nonsense" is not understood`},
	} {
		t.Run(name, func(t *testing.T) {
			got := machineOf(t, test.files).limits()
			if got.Problem == nil || !strings.Contains(got.Problem.Error(), test.want) || got.CPUs <= 0 {
				t.Errorf("found %+v, expected %s", got, test.want)
			}
		})
	}
}

func TestTheLimitsOfThisMachineAreFound(t *testing.T) {
	got := Limits()
	if got.Problem != nil || got.CPUs <= 0 || got.CPUs > float64(runtime.NumCPU()) || got.Memory <= 0 {
		t.Errorf("found %+v", got)
	}
}
