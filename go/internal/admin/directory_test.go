package admin

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTheDirectoryTellsToolsHowToFindTheServer(t *testing.T) {
	registry := t.TempDir()
	old := syscall.Umask(0o077) // the modes must not depend on it
	s := start(t, registry, nil)
	syscall.Umask(old)
	if name := filepath.Base(s.Dir()); !namePattern.MatchString(name) || filepath.Dir(s.Dir()) != registry {
		t.Errorf("the directory is %s", s.Dir())
	}
	modes := map[string]fs.FileMode{
		".": fs.ModeDir | 0o755, "lock": 0o600, "core.pid": 0o644, "properties.json": 0o644,
		"agents.s": fs.ModeDir | 0o755, "agents.s/core_api": fs.ModeSocket | 0o666,
	}
	for name, want := range modes {
		st, err := os.Lstat(filepath.Join(s.Dir(), name))
		if err != nil {
			t.Error(err)
		} else if st.Mode() != want {
			t.Errorf("%s has mode %v, not %v", name, st.Mode(), want)
		}
	}
	if got := names(t, s.Dir()); len(got) != len(modes)-2 {
		t.Errorf("it holds %v", got)
	}
	if text, err := os.ReadFile(filepath.Join(s.Dir(), "core.pid")); err != nil || string(text) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("core.pid: %q, %v", text, err)
	}
	p := properties(t, s.Dir())
	if p.InstanceDir.Path != s.Dir() || p.CorePID != os.Getpid() || p.WatchdogPID != os.Getpid() || p.PassengerVersion != "7.1.2" ||
		p.ServerSoftware != "Passenger/7.1.2" || p.IntegrationMode != "standalone" || p.StandaloneEngine != "builtin" ||
		p.AppRoot != "/srv/app" || p.Environment != "staging" || namePrefix+p.Name != filepath.Base(s.Dir()) || len(p.InstanceID) != 24 || p.InstanceDir.CreatedAt != s.clock.read().Unix() {
		t.Errorf("%+v", p)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	if at := p.InstanceDir.CreatedAtMonotonic; at <= 0 || at > now.Nano()/1000 {
		t.Errorf("made at %d µs on the monotonic clock, which stands at %d", at, now.Nano()/1000)
	}
}

func TestNothingIsLeftAfterStop(t *testing.T) {
	registry := t.TempDir()
	before := descriptors(t)
	s := start(t, registry, nil)
	if response, _ := s.ask("GET", "/ping", ""); response.StatusCode != 200 {
		t.Error(response.Status)
	}
	s.stop()
	s.stop() // a second time does no harm
	if left := names(t, registry); len(left) != 0 {
		t.Errorf("the registry holds %v", left)
	}
	eventually(t, "the end of all goroutines", func() bool { return len(serverGoroutines()) == 0 })
	eventually(t, "the closing of all files", func() bool { return descriptors(t) <= before })
}

func TestTheLockIsHeldWhileTheServerLives(t *testing.T) {
	registry := t.TempDir()
	s := start(t, registry, nil)
	for what, path := range map[string]string{"the sign of life": filepath.Join(s.Dir(), "lock"), "the shield against systemd-tmpfiles": s.Dir()} {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			t.Errorf("%s: locking %s: %v", what, path, err)
		}
		file.Close()
	}
}

func TestTwoServersShareARegistry(t *testing.T) {
	registry := t.TempDir()
	one, two := start(t, registry, nil), start(t, registry, nil)
	if one.Dir() == two.Dir() {
		t.Fatalf("both have %s", one.Dir())
	}
	two.stop()
	if got := names(t, registry); !slices.Equal(got, []string{filepath.Base(one.Dir())}) {
		t.Errorf("the registry holds %v", got)
	}
	if response, _ := one.ask("GET", "/ping", ""); response.StatusCode != 200 {
		t.Error(response.Status)
	}
}

// abandon makes a directory as a killed server leaves it.
func abandon(t *testing.T, registry, name string) string {
	t.Helper()
	dir := filepath.Join(registry, name)
	for _, d := range []string{dir, filepath.Join(dir, "agents.s")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"lock", "core.pid", "properties.json", "agents.s/core_api"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLeftoversOfKilledServersAreRemoved(t *testing.T) {
	registry := t.TempDir()
	abandon(t, registry, "passenger.abcDEF1")
	abandon(t, registry, "passenger.abcDEF2")
	s := start(t, registry, nil)
	if got := names(t, registry); !slices.Equal(got, []string{filepath.Base(s.Dir())}) {
		t.Errorf("the registry holds %v", got)
	}
}

func TestOnlyLeftoversAreRemoved(t *testing.T) {
	registry, elsewhere := t.TempDir(), t.TempDir()
	abandon(t, registry, "passenger.short")
	abandon(t, registry, "passenger.a-b-c-d")
	abandon(t, registry, "other.abcDEF1")
	if err := os.Remove(filepath.Join(abandon(t, registry, "passenger.noLock1"), "lock")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(abandon(t, elsewhere, "passenger.abcDEF1"), filepath.Join(registry, "passenger.symlin1")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(registry, "passenger.aaFile1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	linked := abandon(t, registry, "passenger.linked1")
	if err := os.Remove(filepath.Join(linked, "lock")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("core.pid", filepath.Join(linked, "lock")); err != nil {
		t.Fatal(err)
	}
	locked, err := os.Open(filepath.Join(abandon(t, registry, "passenger.locked1"), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer locked.Close()
	if taken, err := tryLock(locked); !taken {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		foreign := abandon(t, registry, "passenger.foreign")
		if err := os.Chown(foreign, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	before := names(t, registry)
	start(t, registry, nil).stop()
	if after := names(t, registry); !slices.Equal(before, after) {
		t.Errorf("of %v there are %v left", before, after)
	}
	if left := names(t, elsewhere); len(left) != 1 {
		t.Errorf("behind the symbolic link: %v", left)
	}
}

func TestALeftoverIsEmptiedButNotWhatItLinksTo(t *testing.T) {
	registry, elsewhere := t.TempDir(), t.TempDir()
	kept := filepath.Join(elsewhere, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(abandon(t, registry, "passenger.abcDEF1"), "link")); err != nil {
		t.Fatal(err)
	}
	start(t, registry, nil).stop()
	if got := names(t, registry); len(got) != 0 {
		t.Errorf("the registry holds %v", got)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

func TestAForeignDirectoryIsLeftAlone(t *testing.T) {
	registry := t.TempDir()
	abandon(t, registry, "passenger.abcDEF1")
	root, err := os.OpenRoot(registry)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if removed, err := removeIfStale(root, "passenger.abcDEF1", os.Geteuid()+1); removed || err != nil {
		t.Errorf("removed %v, %v", removed, err)
	}
	if removed, err := removeIfStale(root, "passenger.abcDEF1", os.Geteuid()); !removed || err != nil {
		t.Errorf("one's own: removed %v, %v", removed, err)
	}
}

func TestServersThatStartAtTheSameTimeDoNotRemoveEachOther(t *testing.T) {
	registry := t.TempDir()
	for range 5 {
		abandon(t, registry, namePrefix+randomText(nameLength))
	}
	var mu sync.Mutex
	var servers []*rig
	var starting sync.WaitGroup
	for range 8 {
		starting.Go(func() {
			for range 5 {
				s := start(t, registry, nil)
				mu.Lock()
				servers = append(servers, s)
				mu.Unlock()
			}
		})
	}
	starting.Wait()
	if got := names(t, registry); len(got) != len(servers) {
		t.Errorf("%d servers have %d directories", len(servers), len(got))
	}
	for _, s := range servers {
		if response, _ := s.ask("GET", "/ping", ""); response.StatusCode != 200 {
			t.Errorf("%s: %s", s.Dir(), response.Status)
		}
		if n := s.log.count("level=WARN"); n != 0 {
			t.Errorf("%d warnings: %s", n, s.log.text.String())
		}
		s.stop()
	}
	if got := names(t, registry); len(got) != 0 {
		t.Errorf("the registry holds %v", got)
	}
}

func TestWhoReadsThePropertiesNeverSeesHalfOfThem(t *testing.T) {
	registry := t.TempDir()
	done := make(chan struct{})
	var reading sync.WaitGroup
	var seen atomic.Int32
	reading.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			for _, name := range names(t, registry) {
				text, err := os.ReadFile(filepath.Join(registry, name, "properties.json"))
				if err != nil {
					continue // not there yet, or no more
				}
				seen.Add(1)
				if !strings.HasSuffix(string(text), "}\n") {
					t.Errorf("half of the properties: %q", text)
				}
			}
		}
	})
	eventually(t, "ten looks at properties", func() bool {
		s := start(t, registry, nil)
		defer s.stop()
		return seen.Load() >= 10
	})
	close(done)
	reading.Wait()
}

func TestTimesAreRenewedForTheCleaners(t *testing.T) {
	registry := t.TempDir()
	s := start(t, registry, nil)
	long := time.Now().Add(-50 * time.Hour).Round(0)
	all := []string{".", "lock", "core.pid", "properties.json", "agents.s", "agents.s/core_api"}
	age := func() {
		for _, name := range all {
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(s.Dir(), name), []unix.Timespec{unix.NsecToTimespec(long.UnixNano()), unix.NsecToTimespec(long.UnixNano())}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(when string, want time.Time) {
		t.Helper()
		for _, name := range all {
			st, err := os.Lstat(filepath.Join(s.Dir(), name))
			if err != nil {
				t.Fatal(err)
			}
			atime := time.Unix(st.Sys().(*syscall.Stat_t).Atim.Unix())
			if !st.ModTime().Equal(want) || !atime.Equal(want) {
				t.Errorf("%s %s has %v and %v, not %v", when, name, st.ModTime(), atime, want)
			}
		}
	}
	age()
	s.clock.advance(refreshInterval - time.Second)
	s.tick()
	check("before the time", long)
	s.clock.advance(time.Second)
	s.tick()
	check("at the time", s.clock.read())
	age()
	s.clock.advance(-24 * time.Hour)
	s.tick()
	check("after the clock has been set back", s.clock.read())
}

func TestADirectoryThatVanishesIsMadeAnew(t *testing.T) {
	for what, damage := range map[string]func(dir string) error{
		"all of it":          os.RemoveAll,
		"the socket":         func(dir string) error { return os.Remove(filepath.Join(dir, "agents.s/core_api")) },
		"the lock":           func(dir string) error { return os.Remove(filepath.Join(dir, "lock")) },
		"the pid":            func(dir string) error { return os.Remove(filepath.Join(dir, "core.pid")) },
		"the properties":     func(dir string) error { return os.Remove(filepath.Join(dir, "properties.json")) },
		"its name":           func(dir string) error { return os.Rename(dir, dir+"-moved") },
		"the lock, replaced": func(dir string) error { return os.Rename(filepath.Join(dir, "core.pid"), filepath.Join(dir, "lock")) },
	} {
		t.Run(what, func(t *testing.T) {
			registry := t.TempDir()
			s := start(t, registry, nil)
			before := descriptors(t)
			dir := s.Dir()
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			s.tick()
			s.tick()
			if s.Dir() != dir {
				t.Errorf("it is %s instead of %s", s.Dir(), dir)
			}
			if response, _ := s.ask("GET", "/ping", ""); response.StatusCode != 200 {
				t.Error(response.Status)
			}
			if p := properties(t, dir); p.InstanceDir.Path != dir {
				t.Errorf("%+v", p)
			}
			if n := s.log.count("made anew"); n != 1 {
				t.Errorf("the log says so %d times", n)
			}
			eventually(t, "the closing of the old files", func() bool { return descriptors(t) <= before })
			s.stop()
			if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

func TestADirectoryWhoseNameIsTakenGetsAnother(t *testing.T) {
	registry := t.TempDir()
	s := start(t, registry, nil)
	dir := s.Dir()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.tick()
	if s.Dir() == dir {
		t.Fatal("it is said to be where a file is")
	}
	if response, _ := s.ask("GET", "/ping", ""); response.StatusCode != 200 {
		t.Error(response.Status)
	}
	s.stop()
	if got := names(t, registry); !slices.Equal(got, []string{filepath.Base(dir)}) {
		t.Errorf("the registry holds %v", got)
	}
}

func TestARegistryThatVanishesIsComplainedAboutOnce(t *testing.T) {
	registry := filepath.Join(t.TempDir(), "registry")
	if err := os.Mkdir(registry, 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, registry, nil)
	if err := os.RemoveAll(registry); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.tick()
	}
	if n := s.log.count("instance_registry_dir: " + registry + " does not exist"); n != 1 {
		t.Errorf("the log says so %d times: %s", n, s.log.text.String())
	}
	if err := os.Mkdir(registry, 0o700); err != nil {
		t.Fatal(err)
	}
	s.tick()
	if response, _ := s.ask("GET", "/ping", ""); response.StatusCode != 200 {
		t.Error(response.Status)
	}
}

func TestAnUnusableRegistryIsNamedWithARemedy(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, what := range map[string]string{
		filepath.Join(dir, "missing"): "does not exist; create it",
		file:                          "is not a directory",
		"/proc":                       "cannot hold another directory",
	} {
		_, err := Start(Options{RegistryDir: path, Log: start(t, t.TempDir(), nil).options.Log})
		if err == nil {
			t.Errorf("%s is used", path)
			continue
		}
		for _, want := range []string{"instance_registry_dir", path, what, "--instance-registry-dir"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in: %v", want, err)
			}
		}
	}
}

func TestALongPathIsNoObstacle(t *testing.T) {
	registry := t.TempDir()
	for range 4 {
		registry = filepath.Join(registry, strings.Repeat("long", 15))
	}
	if err := os.MkdirAll(registry, 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, registry, nil)
	if socket := filepath.Join(s.Dir(), "agents.s/core_api"); len(socket) <= longestSocketPath {
		t.Fatalf("%s is not long", socket)
	}
	if response, body := s.ask("GET", "/ping", ""); response.StatusCode != 200 {
		t.Errorf("%s %s", response.Status, body)
	}
	s.stop()
	if got := names(t, registry); len(got) != 0 {
		t.Errorf("the registry holds %v", got)
	}
}

func TestPathsOfEveryLengthAreServed(t *testing.T) {
	base := shortDir(t)
	for length := longestSocketPath - 3; length <= longestSocketPath+3; length++ {
		rest := length - len(base) - len("/") - len("/passenger.XXXXXXX/agents.s/core_api")
		registry := filepath.Join(base, strings.Repeat("x", rest))
		if err := os.Mkdir(registry, 0o700); err != nil {
			t.Fatal(err)
		}
		s := start(t, registry, nil)
		if got := len(filepath.Join(s.Dir(), "agents.s/core_api")); got != length {
			t.Fatalf("the path has %d bytes, not %d", got, length)
		}
		if response, _ := s.ask("GET", "/ping", ""); response.StatusCode != 200 {
			t.Errorf("%d bytes: %s", length, response.Status)
		}
	}
}
