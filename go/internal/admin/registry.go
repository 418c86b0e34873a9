package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	namePrefix  = "passenger."
	nameLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	nameLength  = 7
)

var namePattern = regexp.MustCompile(`^passenger\.[A-Za-z0-9]{7}$`)

func randomText(length int) string {
	var b strings.Builder
	for range length {
		b.WriteByte(nameLetters[rand.IntN(len(nameLetters))])
	}
	return b.String()
}

// registryError says what is to be done about a registry that cannot be used.
func registryError(path, what string) error {
	return fmt.Errorf("instance_registry_dir: %s %s, or name another directory with --instance-registry-dir", path, what)
}

func openRegistry(path string) (*os.Root, error) {
	root, err := os.OpenRoot(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, registryError(path, "does not exist; create it")
	case err != nil && isFile(path):
		return nil, registryError(path, "is not a directory; move that file away")
	case errors.Is(err, fs.ErrPermission):
		return nil, registryError(path, "may not be entered by this user; allow it")
	case err != nil:
		return nil, registryError(path, fmt.Sprintf("cannot be opened (%v); mend that", err))
	}
	return root, nil
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && !st.IsDir()
}

// claim makes a directory that nobody else has, of the preferred name if that is free.
func claim(registry *os.Root, preferred string) (name string, err error) {
	const attempts = 100 // with 62^7 names, more than one is a broken random source
	name = preferred
	for range attempts {
		if name == "" {
			name = namePrefix + randomText(nameLength)
		}
		err = registry.Mkdir(name, 0o755)
		switch {
		case err == nil:
			return name, nil
		case errors.Is(err, fs.ErrExist):
			name = ""
		case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
			return "", registryError(registry.Name(), "is not writable by this user; allow it")
		default:
			return "", registryError(registry.Name(), fmt.Sprintf("cannot hold another directory (%v); mend that", err))
		}
	}
	return "", registryError(registry.Name(), "has no free name; remove old directories")
}

// removeStale removes the instance directories of servers of this user that
// are gone. What cannot be removed is no reason not to start.
func removeStale(path string, log *slog.Logger) {
	registry, err := openRegistry(path)
	if err != nil {
		return // makeDirectory meets the same, and says so
	}
	defer registry.Close()
	for _, name := range namesIn(registry, log) {
		removed, err := removeIfStale(registry, name, os.Geteuid())
		switch {
		case err != nil:
			log.Warn("the instance directory of a former server cannot be removed", "directory", path+"/"+name, "error", err)
		case removed:
			log.Info("removed the instance directory of a server that has ended without doing so", "directory", path+"/"+name)
		}
	}
}

func namesIn(registry *os.Root, log *slog.Logger) []string {
	dir, err := registry.Open(".")
	if err != nil {
		log.Warn("cannot look for instance directories of former servers", "error", err)
		return nil
	}
	defer dir.Close()
	all, err := dir.Readdirnames(-1)
	if err != nil {
		log.Warn("cannot look for instance directories of former servers", "error", err)
	}
	var names []string
	for _, name := range all {
		if namePattern.MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

// removeIfStale removes a directory of this user's whose lock nobody holds.
//
// A living server is never hit: its lock file gets its name only when it is
// locked. Of two servers that look at the same time one gets the lock; the
// other one finds a lock file that is no longer the one in the directory.
func removeIfStale(registry *os.Root, name string, uid int) (removed bool, err error) {
	there, err := registry.Lstat(name)
	if err != nil || !there.IsDir() || owner(there) != uid {
		return false, ignoreMissing(err)
	}
	root, err := registry.OpenRoot(name)
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer root.Close()
	if opened, err := root.Stat("."); err != nil || !os.SameFile(there, opened) {
		return false, ignoreMissing(err)
	}
	// Not held up by whatever else lies there under this name.
	lock, err := root.OpenFile(lockName, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer lock.Close()
	if taken, err := tryLock(lock); !taken {
		return false, err
	}
	if !isIn(root, lockName, lock) {
		return false, nil
	}
	return true, erase(registry, name, root)
}

// erase removes a directory whose lock the caller holds. The properties go
// first, since by them others find the server; the lock goes last, so that
// nobody else begins to remove the same.
func erase(registry *os.Root, name string, root *os.Root) error {
	var failures []error
	failed := func(err error) {
		if err := ignoreMissing(err); err != nil {
			failures = append(failures, err)
		}
	}
	failed(root.Remove(propertiesName))
	dir, err := root.Open(".")
	failed(err)
	if err == nil {
		names, err := dir.Readdirnames(-1)
		failed(err)
		dir.Close()
		for _, entry := range names {
			if entry != lockName {
				failed(root.RemoveAll(entry))
			}
		}
	}
	failed(root.Remove(lockName))
	inside, err := root.Stat(".")
	failed(err)
	if outside, err := registry.Lstat(name); err == nil && inside != nil && os.SameFile(inside, outside) {
		failed(registry.Remove(name))
	}
	return errors.Join(failures...)
}

// tryLock takes the flock of a file; false if another process has it.
func tryLock(file *os.File) (taken bool, err error) {
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("locking %s: %w", file.Name(), err)
	}
	return true, nil
}

// isIn reports whether the entry of that name is the open file.
func isIn(root *os.Root, name string, file *os.File) bool {
	opened, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := root.Lstat(name)
	return err == nil && os.SameFile(opened, there)
}

func owner(st fs.FileInfo) int {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return int(sys.Uid)
	}
	return -1
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
