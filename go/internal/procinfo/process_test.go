package procinfo

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const rollup = `55da6f4a6000-7fff377bb000 ---p 00000000 00:00 0                          [rollup]
Rss:               41740 kB
Pss:               20365 kB
Pss_Dirty:           116 kB
Shared_Clean:       1584 kB
Private_Clean:        40 kB
Private_Dirty:       116 kB
Swap:                  8 kB
SwapPss:               4 kB
`

func TestMemoryIsReadFromTheRollup(t *testing.T) {
	s := tree(t, map[string]string{"proc/7/smaps_rollup": rollup})
	got, err := s.memory(7)
	want := Usage{RSS: 41740 << 10, PSS: 20365 << 10, PrivateDirty: 116 << 10, Swap: 8 << 10}
	if err != nil || got != want {
		t.Errorf("read %+v, %v, expected %+v", got, err, want)
	}
}

func TestMemoryThatMayNotBeReadIsEstimatedFromStatm(t *testing.T) {
	page := int64(os.Getpagesize())
	want := Usage{RSS: 500 * page, PSS: 500 * page, PrivateDirty: 380 * page, Rough: true}
	for name, err := range map[string]error{"another user's": syscall.EACCES, "another's, by ptrace": syscall.EPERM, "an old kernel's": syscall.ENOENT} {
		t.Run(name, func(t *testing.T) {
			s := tree(t, map[string]string{"proc/7/smaps_rollup": rollup, "proc/7/statm": "765 500 120 5 0 123 0\n"})
			got, err := s.refusing("proc/7/smaps_rollup", err).memory(7)
			if err != nil || got != want {
				t.Errorf("read %+v, %v, expected %+v", got, err, want)
			}
		})
	}
}

func TestOfAProcessThatHasEndedNothingIsTold(t *testing.T) {
	empty := tree(t, nil)
	dying := tree(t, map[string]string{"proc/7/smaps_rollup": "", "proc/7/statm": "", "proc/7/stat": ""})
	for _, file := range []string{"smaps_rollup", "statm", "stat"} {
		dying = dying.refusing("proc/7/"+file, syscall.ESRCH)
	}
	zombie := tree(t, map[string]string{"proc/7/smaps_rollup": "", "proc/7/statm": "0 0 0 0 0 0 0\n"})
	for name, s := range map[string]system{"no directory": empty, "ESRCH": dying, "zombie": zombie} {
		if _, err := s.memory(7); !errors.Is(err, ErrGone) {
			t.Errorf("%s: memory: %v", name, err)
		}
		if _, err := s.rss(7); !errors.Is(err, ErrGone) {
			t.Errorf("%s: rss: %v", name, err)
		}
		if _, err := s.cpuTime(7); !errors.Is(err, ErrGone) {
			t.Errorf("%s: CPU time: %v", name, err)
		}
	}
}

func TestMemoryOfAProcessThatEndsBetweenTwoReadsIsGone(t *testing.T) {
	s := tree(t, nil).refusing("proc/7/smaps_rollup", syscall.EACCES)
	if got, err := s.memory(7); !errors.Is(err, ErrGone) {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestCPUTimeIsCountedBehindTheProgramsName(t *testing.T) {
	s := tree(t, map[string]string{"proc/7/stat": "7 (ruby (1) x) S 1 2 3 4 5 6 7 8 9 10 250 125 99 98 20 0 5 0 1\n"})
	if got, err := s.cpuTime(7); err != nil || got != 3750*time.Millisecond {
		t.Errorf("read %v, %v", got, err)
	}
}

func TestWhatIsNotUnderstoodIsQuoted(t *testing.T) {
	s := tree(t, map[string]string{
		"proc/1/smaps_rollup": "Rss: 1 kB\nPss: many kB\n",
		"proc/2/smaps_rollup": "Rss: 1 kB\nPss: 1 kB\nPrivate_Dirty: 1 kB\n",
		"proc/3/statm":        "1 x\n",
		"proc/4/stat":         "4 (a) S 1 2",
		"proc/5/stat":         "5 (a) S 1 2 3 4 5 6 7 8 9 10 x 1",
	})
	memory := func(pid int) error { _, err := s.memory(pid); return err }
	cpuTime := func(pid int) error { _, err := s.cpuTime(pid); return err }
	rss := func(pid int) error { _, err := s.rss(pid); return err }
	for pid, test := range map[int]struct {
		look func(int) error
		want string
	}{
		1: {memory, `/proc/1/smaps_rollup: the line "Pss: many kB" is not understood`},
		2: {memory, "/proc/2/smaps_rollup has no line Swap"},
		3: {rss, `/proc/3/statm: "1 x\n" is not understood`},
		4: {cpuTime, `/proc/4/stat: "4 (a) S 1 2" is not understood`},
		5: {cpuTime, "is not understood: strconv"},
	} {
		if err := test.look(pid); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("process %d: %v, expected %s", pid, err, test.want)
		}
	}
}

func TestOtherErrorsNameTheProcess(t *testing.T) {
	s := tree(t, nil).refusing("proc/7/stat", syscall.EIO)
	if _, err := s.cpuTime(7); !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "process 7") {
		t.Errorf("CPU time: %v", err)
	}
}

func TestTheMachineItselfIsRead(t *testing.T) {
	usage, err := Memory(os.Getpid())
	if err != nil || usage.Rough || usage.PSS <= 0 || usage.PrivateDirty <= 0 || usage.RSS < usage.PSS {
		t.Errorf("own memory: %+v, %v", usage, err)
	}
	rss, err := RSS(os.Getpid())
	if err != nil || rss < 1<<20 {
		t.Errorf("own RSS: %d, %v", rss, err)
	}
	if _, err := CPUTime(os.Getpid()); err != nil {
		t.Errorf("own CPU time: %v", err)
	}
}

func TestAChildIsGoneWhenItHasEnded(t *testing.T) {
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := child.Process.Pid
	_, alive := RSS(pid)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil {
		t.Error("sleep was not killed")
	}
	if _, err := RSS(pid); alive != nil || !errors.Is(err, ErrGone) {
		t.Errorf("RSS: %v while it lived, %v afterwards", alive, err)
	}
	if _, err := Memory(pid); !errors.Is(err, ErrGone) {
		t.Errorf("memory: %v", err)
	}
}
