package static

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Root is a directory whose files are served. It is named, not held: it may
// come into being later, and be replaced by another one.
type Root struct {
	dir     string // without a slash at its end
	outside *Dirs  // where links may lead to
}

// NewRoot describes the directory at an absolute path. Links in it may lead
// anywhere below it, and below the directories in outside.
func NewRoot(dir string, outside []string) *Root {
	return &Root{dir: strings.TrimRight(filepath.Clean(dir), "/"), outside: NewDirs(outside)}
}

// Dir is the directory's path.
func (r *Root) Dir() string { return r.dir }

// path is dir, which is empty for the root of the file system.
func (r *Root) path() string { return cmp.Or(r.dir, "/") }

// Dirs are directories from which files may be sent.
type Dirs struct {
	paths []string
	real  atomic.Pointer[[]string] // of those that were there, links resolved
}

// NewDirs describes directories by absolute paths, which may lead through links.
func NewDirs(paths []string) *Dirs {
	d := &Dirs{paths: paths}
	d.resolve()
	return d
}

func (d *Dirs) resolve() []string {
	var real []string
	for _, path := range d.paths {
		if r, err := filepath.EvalSymlinks(path); err == nil {
			real = append(real, r)
		}
	}
	d.real.Store(&real)
	return real
}

// contain reports whether a file with a real path lies in one of the
// directories. Before the answer is no, it is looked where they are now: one
// may have been made, or a link in its path switched, meanwhile.
func (d *Dirs) contain(real string) bool {
	return within(real, *d.real.Load()) || within(real, d.resolve())
}

func within(real string, dirs []string) bool {
	for _, dir := range dirs {
		if strings.HasPrefix(real, dir) && (len(dir) == len(real) || dir == "/" || real[len(dir)] == '/') {
			return true
		}
	}
	return false
}

// Open opens the regular file at an absolute path, if it lies in one of the
// directories, links resolved; ErrOutside if not.
func (d *Dirs) Open(path string) (*File, error) {
	handle, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return openHandle(handle, path, d.contain)
}

// ErrOutside: a file lies in none of the directories from which files are sent.
var ErrOutside = errors.New("it lies outside the directories that may be served")

// Open opens the regular file at an absolute path below the root. The kernel
// looks it up and keeps below the root; where it would not, the file itself is
// asked where it lies.
func (r *Root) Open(name string) (*File, error) {
	handle, beneath, err := r.handle(name)
	if err != nil {
		return nil, err
	}
	if beneath {
		return openHandle(handle, name, nil)
	}
	file, err := openHandle(handle, name, func(real string) bool {
		dir, err := filepath.EvalSymlinks(r.path())
		return err == nil && within(real, []string{dir}) || r.outside.contain(real)
	})
	if errors.Is(err, ErrOutside) {
		return nil, fmt.Errorf("%w (static_symlink_dirs has the directories that links may lead to)", err)
	}
	return file, err
}

// openHandle opens the file that a handle stands for, and closes the handle.
// Nothing but a regular file is ever opened: until its kind is known there is
// only the handle, which neither reads nor blocks (O_PATH). allowed, if not
// nil, is asked about the file's real path.
func openHandle(handle int, name string, allowed func(real string) bool) (*File, error) {
	defer unix.Close(handle)
	var st unix.Stat_t
	if err := unix.Fstat(handle, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &os.PathError{Op: "open", Path: name, Err: unix.ENOENT}
	}
	self := "/proc/self/fd/" + strconv.Itoa(handle)
	if allowed != nil {
		real, err := os.Readlink(self)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		if !allowed(real) {
			return nil, &os.PathError{Op: "open", Path: name, Err: fmt.Errorf("%w: %s", ErrOutside, real)}
		}
	}
	fd, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return &File{fd, name, identify(&st)}, nil
}

// handle finds the file; beneath says that the kernel vouches for where it lies.
func (r *Root) handle(name string) (fd int, beneath bool, err error) {
	dir, err := unix.Open(r.path(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, false, &os.PathError{Op: "open", Path: r.path(), Err: err}
	}
	defer unix.Close(dir)
	relative := strings.TrimLeft(strings.TrimPrefix(name, r.dir), "/")
	fd, err = unix.Openat2(dir, relative, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch err {
	case nil:
		return fd, true, nil
	// A link that leads out; a link with .. while something is renamed anywhere on
	// this machine; an older kernel; a sandbox.
	case unix.EXDEV, unix.EAGAIN, unix.ENOSYS, unix.EPERM:
		if fd, err = unix.Openat(dir, relative, unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
			return fd, false, nil
		}
	}
	return -1, false, &os.PathError{Op: "open", Path: name, Err: err}
}
