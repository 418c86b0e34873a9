package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Names in an instance directory.
const (
	lockName       = "lock"
	pidName        = "core.pid"
	propertiesName = "properties.json"
	socketDirName  = "agents.s"
	socketName     = "core_api"
)

// The layout of the directory is this version of the original's.
const (
	layoutMajor = 4
	layoutMinor = 0
)

// Properties is what properties.json says: the fields of `passenger-config
// list-instances --json`, as far as they make sense here.
type Properties struct {
	InstanceDir      DirProperties `json:"instance_dir"`
	InstanceID       string        `json:"instance_id"`
	Name             string        `json:"name"` // the random part of the directory's name
	PassengerVersion string        `json:"passenger_version"`
	ServerSoftware   string        `json:"server_software"`
	IntegrationMode  string        `json:"integration_mode"`
	StandaloneEngine string        `json:"standalone_engine"`
	CorePID          int           `json:"core_pid"`
	WatchdogPID      int           `json:"watchdog_pid"` // the same process: there is no other
	// By these two processes of the application find the server that serves it.
	AppRoot     string `json:"app_root"`
	Environment string `json:"environment"`
}

// DirProperties describe the instance directory.
type DirProperties struct {
	Path      string `json:"path"`
	CreatedAt int64  `json:"created_at"` // seconds since the epoch
	// CreatedAtMonotonic tells a directory of before a reboot from one of today
	// even when the wall clock has been set: microseconds on CLOCK_MONOTONIC.
	CreatedAtMonotonic int64 `json:"created_at_monotonic_usec"`
	MajorVersion       int   `json:"major_version"`
	MinorVersion       int   `json:"minor_version"`
}

// directory is an instance directory that this process has made.
type directory struct {
	name     string
	path     string
	registry *os.Root
	root     *os.Root
	self     *os.File // the directory itself: systemd-tmpfiles passes by what is locked
	lock     *os.File // locked as long as the server lives
	sockets  []string // their names
	// One for each of the sockets. The first is the API's.
	listeners []*net.UnixListener
}

// makeDirectory makes a directory with everything in it; when its properties
// can be read, the socket can be connected to. On an error nothing is left.
func makeDirectory(o Options, preferred string) (*directory, error) {
	registry, err := openRegistry(o.RegistryDir)
	if err != nil {
		return nil, err
	}
	d := &directory{registry: registry, sockets: []string{socketName}}
	for _, socket := range o.Sockets {
		d.sockets = append(d.sockets, socket.Name)
	}
	if d.name, err = claim(registry, preferred); err != nil {
		registry.Close()
		return nil, err
	}
	d.path = filepath.Join(o.RegistryDir, d.name)
	if err := d.furnish(o); err != nil {
		return nil, errors.Join(fmt.Errorf("instance_registry_dir: %s cannot be set up: %w; mend that, or name another directory with --instance-registry-dir", d.path, err), d.remove())
	}
	return d, nil
}

func (d *directory) furnish(o Options) (err error) {
	if d.root, err = d.registry.OpenRoot(d.name); err != nil {
		return err
	}
	if d.self, err = d.root.Open("."); err != nil {
		return err
	}
	// The umask is the application's as well, so it stays, and modes are set one by one.
	if err := d.self.Chmod(0o755); err != nil {
		return err
	}
	if err := d.takeLock(); err != nil {
		return err
	}
	if err := d.shield(); err != nil {
		return err
	}
	if err := d.write(pidName, strconv.Itoa(os.Getpid())+"\n"); err != nil {
		return err
	}
	if err := d.root.Mkdir(socketDirName, 0o755); err != nil {
		return err
	}
	if err := d.root.Chmod(socketDirName, 0o755); err != nil {
		return err
	}
	for _, name := range d.sockets {
		l, err := listenIn(d.root, d.path, name)
		if err != nil {
			return err
		}
		d.listeners = append(d.listeners, l)
	}
	text, err := json.Marshal(d.properties(o))
	if err != nil {
		return err
	}
	return d.write(propertiesName, string(text)+"\n")
}

// takeLock makes the lock file. It gets its name when it is locked, so that it
// never looks as if its server were gone. Others may not read it: whoever can
// open a file can lock it.
func (d *directory) takeLock() (err error) {
	const fresh = ".lock"
	if d.lock, err = d.root.OpenFile(fresh, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	if taken, err := tryLock(d.lock); !taken {
		return errors.Join(errors.New("another process has locked the new lock file"), err)
	}
	return d.root.Rename(fresh, lockName)
}

// shield locks the directory against systemd-tmpfiles. When that, or any other
// process, has locked it at the moment, the next refresh tries again.
func (d *directory) shield() error {
	_, err := tryLock(d.self)
	return err
}

// write makes a file that everybody may read, or replaces it, in one step.
func (d *directory) write(name, text string) error {
	fresh := "." + name
	if err := d.root.WriteFile(fresh, []byte(text), 0o644); err != nil {
		return err
	}
	if err := d.root.Chmod(fresh, 0o644); err != nil {
		return err
	}
	return d.root.Rename(fresh, name)
}

func (d *directory) properties(o Options) Properties {
	var monotonic unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &monotonic); err != nil {
		o.Log.Warn("the monotonic clock cannot be read", "error", err)
	}
	return Properties{
		InstanceDir: DirProperties{
			Path:               d.path,
			CreatedAt:          o.Now().Unix(),
			CreatedAtMonotonic: monotonic.Nano() / 1000,
			MajorVersion:       layoutMajor,
			MinorVersion:       layoutMinor,
		},
		InstanceID:       randomText(24),
		Name:             strings.TrimPrefix(d.name, namePrefix),
		PassengerVersion: o.Version,
		ServerSoftware:   o.ServerSoftware,
		IntegrationMode:  "standalone",
		StandaloneEngine: "builtin",
		CorePID:          os.Getpid(),
		WatchdogPID:      os.Getpid(),
		AppRoot:          o.AppRoot,
		Environment:      o.Environment,
	}
}

// intact reports whether everything is still there, under the path by which
// others look for it.
func (d *directory) intact() bool {
	there, err := os.Lstat(d.path)
	if err != nil {
		return false
	}
	if inside, err := d.root.Stat("."); err != nil || !os.SameFile(there, inside) {
		return false
	}
	for _, name := range []string{pidName, propertiesName} {
		if st, err := d.root.Lstat(name); err != nil || !st.Mode().IsRegular() {
			return false
		}
	}
	for _, name := range d.sockets {
		if st, err := d.root.Lstat(filepath.Join(socketDirName, name)); err != nil || st.Mode()&os.ModeSocket == 0 {
			return false
		}
	}
	return isIn(d.root, lockName, d.lock)
}

// refresh gives everything a time of access and modification for cleaners that
// go by these.
func (d *directory) refresh(now time.Time) error {
	err := d.shield()
	names := []string{".", lockName, pidName, propertiesName, socketDirName}
	for _, name := range d.sockets {
		names = append(names, filepath.Join(socketDirName, name))
	}
	for _, name := range names {
		err = errors.Join(err, d.root.Chtimes(name, now, now))
	}
	return err
}

// deafen ends the listening on all sockets.
func (d *directory) deafen() (err error) {
	for _, l := range d.listeners {
		err = errors.Join(err, ignoreClosed(l.Close()))
	}
	return err
}

// remove removes the directory and closes everything; what has been removed
// already is no error. It may be called again, and on a directory that is only
// half furnished.
func (d *directory) remove() error {
	if d.registry == nil {
		return nil
	}
	err := d.deafen()
	if d.root != nil {
		err = errors.Join(err, erase(d.registry, d.name, d.root), d.root.Close())
	} else {
		err = errors.Join(err, ignoreMissing(d.registry.Remove(d.name)))
	}
	for _, file := range []*os.File{d.lock, d.self} {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
	}
	err = errors.Join(err, d.registry.Close())
	d.registry = nil
	return err
}
