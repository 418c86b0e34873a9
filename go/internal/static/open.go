// Package static serves files: those below the app's public directory that a
// URL names, and those that the app names as its response body.
package static

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// File is an open regular file.
type File struct {
	*os.File
	Size  int64
	MTime int64 // seconds
	Inode uint64
}

// Regular takes over a file that the app has opened. Anything but a regular
// file is refused and closed.
func Regular(file *os.File) (*File, error) {
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "send", Path: file.Name(), Err: fmt.Errorf("not a regular file")}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return &File{File: file, Size: info.Size(), MTime: info.ModTime().Unix(), Inode: info.Sys().(*syscall.Stat_t).Ino}, nil
}

func regular(fd int, name string) (*File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, &os.PathError{Op: "open", Path: name, Err: fmt.Errorf("not a regular file")}
	}
	// The descriptor of a regular file never blocks; as blocking one it stays out of the poller.
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return &File{File: os.NewFile(uintptr(fd), name), Size: st.Size, MTime: st.Mtim.Sec, Inode: st.Ino}, nil
}

// Root is a directory whose files are served.
type Root struct {
	dir string
	fd  int
}

// OpenRoot opens the directory; nil if there is none: then nothing is served
// from it.
func OpenRoot(dir string) (*Root, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("static files directory: %w", &os.PathError{Op: "open", Path: dir, Err: err})
	}
	return &Root{dir: dir, fd: fd}, nil
}

// Close closes the directory.
func (r *Root) Close() error { return unix.Close(r.fd) }

// Open opens the regular file at a path relative to the root. The kernel
// keeps the look-up below the root, whatever links there are. nil without an
// error: there is no such file.
func (r *Root) Open(name string) (*File, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(r.fd, name, &st, 0); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, nil
	}
	fd, err := unix.Openat2(r.fd, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch err {
	case nil:
		return regular(fd, name)
	case unix.ENOENT, unix.EXDEV, unix.ELOOP, unix.EACCES:
		return nil, nil
	}
	return nil, &os.PathError{Op: "open", Path: r.dir + "/" + name, Err: err}
}

// Name maps a raw URL path to a file name below the root; false if it can
// name no file that may be served. Dot files are hidden, but for /.well-known/.
func Name(path []byte) (string, bool) {
	if len(path) < 2 || path[0] != '/' || path[len(path)-1] == '/' {
		return "", false
	}
	name, ok := unescape(path[1:])
	if !ok || strings.IndexByte(name, 0) >= 0 || strings.IndexByte(name, '\\') >= 0 {
		return "", false
	}
	for i, part := range strings.Split(name, "/") {
		if part == "" || part[0] == '.' && !(i == 0 && part == ".well-known") {
			return "", false
		}
	}
	return name, true
}

// unescape decodes percent escapes, once.
func unescape(b []byte) (string, bool) {
	var out []byte
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c != '%' {
			if out != nil {
				out = append(out, c)
			}
			continue
		}
		if i+2 >= len(b) {
			return "", false
		}
		hi, lo := unhex(b[i+1]), unhex(b[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		if out == nil {
			out = append(make([]byte, 0, len(b)), b[:i]...)
		}
		out = append(out, byte(hi<<4|lo))
		i += 2
	}
	if out == nil {
		return string(b), true
	}
	return string(out), true
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
