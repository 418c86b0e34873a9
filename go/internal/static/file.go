package static

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// identity tells one content of a file from another one under the same name,
// as far as the file's times can.
type identity struct {
	device, inode uint64
	size          int64
	modified      int64 // nanoseconds since 1970
	changed       int64 // the same, of the inode; programs cannot set it
}

func identify(st *unix.Stat_t) identity {
	return identity{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
}

// Ages below which the times of a file do not tell its content from the next
// one. The kernel stamps files by a clock that ticks every few milliseconds;
// some file systems keep whole seconds only.
const (
	clockTick   = 50 * time.Millisecond
	coarseTick  = 2 * time.Second
	dateSeconds = time.Second // what Last-Modified can tell apart
)

// settled reports whether a later change of the file will be seen by its identity.
func (id identity) settled(now time.Time) bool {
	tick := clockTick
	if id.changed%int64(time.Second) == 0 {
		tick = coarseTick
	}
	return now.UnixNano()-id.changed >= int64(tick)
}

// validators are what clients can ask by whether a content is still the same.
// A file that has just changed has fewer: the next change might not show in them.
func (id identity) validators(now time.Time, suffix string) validators {
	var v validators
	if !id.settled(now) {
		return v
	}
	etag := make([]byte, 0, 48)
	etag = append(etag, '"')
	etag = strconv.AppendUint(etag, uint64(id.modified), 16)
	etag = append(etag, '-')
	etag = strconv.AppendInt(etag, id.size, 16)
	v.etag = append(append(etag, suffix...), '"')
	if !id.young(now) {
		v.setModified(id.modified, now)
	}
	return v
}

// young reports whether there will be more validators in a while.
func (id identity) young(now time.Time) bool {
	return !id.settled(now) || now.UnixNano()-id.changed < int64(dateSeconds)
}

// File is a regular file, open for reading.
type File struct {
	fd   int
	name string
	identity
}

// Regular takes over a file that the app has opened. Anything but a regular
// file is refused and closed.
func Regular(file *os.File) (*File, error) {
	var st unix.Stat_t
	name := file.Name()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	file.Close()
	if err != nil {
		return nil, &os.PathError{Op: "duplicate", Path: name, Err: err}
	}
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("not a regular file")
	}
	if err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "send", Path: name, Err: err}
	}
	return &File{fd, name, identify(&st)}, nil
}

// Name is the path under which the file was opened.
func (f *File) Name() string { return f.name }

// Size is its length when it was opened, in bytes.
func (f *File) Size() int64 { return f.size }

// Close closes the file.
func (f *File) Close() error { return unix.Close(f.fd) }

// ReadAt reads as io.ReaderAt has it.
func (f *File) ReadAt(p []byte, offset int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(f.fd, p[done:], offset+int64(done))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return done, &os.PathError{Op: "read", Path: f.name, Err: err}
		case n == 0:
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

// readAll fills p with the content from its beginning; errChanged if that is not
// what the file had when it was opened.
func (f *File) readAll(p []byte) error {
	_, err := f.ReadAt(p, 0)
	if errors.Is(err, io.EOF) {
		return errChanged
	}
	if err != nil {
		return err
	}
	if f.unchanged() != nil { // possible where it could not be frozen
		return errChanged
	}
	return nil
}

// refresh looks at the file again.
func (f *File) refresh() error {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: f.name, Err: err}
	}
	f.identity = identify(&st)
	return nil
}

// unchanged is an error if the file's content may have changed since it was opened.
func (f *File) unchanged() error {
	before := f.identity
	if err := f.refresh(); err != nil {
		return err
	}
	if f.size != before.size || f.modified != before.modified {
		f.identity = before // whoever asks again gets the same answer
		return fmt.Errorf("%s was changed while it was sent", f.name)
	}
	return nil
}

// at gives the open file as an os.File at an offset, for sendfile; closing it
// leaves f open.
func (f *File) at(offset int64) (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(f.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		if _, err = unix.Seek(fd, offset, io.SeekStart); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return nil, &os.PathError{Op: "seek", Path: f.name, Err: err}
	}
	return os.NewFile(uintptr(fd), f.name), nil
}

// errBeingWritten: some process has the file open for writing, so that nobody
// can say whether it is complete.
var errBeingWritten = errors.New("the file is being written")

// freeze keeps writers from opening the file until thaw; errBeingWritten if one
// has it open now. It is a lease (fcntl(2), F_SETLEASE), which exists for files
// of one's own on local file systems. Elsewhere a file counts as being written
// for a second after its last change.
func (f *File) freeze(now time.Time) (thaw func(), err error) {
	// A writer that comes meanwhile waits, and the kernel sends a signal; this one
	// is ignored by default, and used by the Go runtime for itself.
	if _, err := unix.FcntlInt(uintptr(f.fd), unix.F_SETSIG, int(unix.SIGURG)); err != nil {
		return nil, &os.PathError{Op: "fcntl", Path: f.name, Err: err}
	}
	switch _, err := unix.FcntlInt(uintptr(f.fd), unix.F_SETLEASE, unix.F_RDLCK); err {
	case nil:
		return f.thaw, nil
	case syscall.EAGAIN:
		return nil, errBeingWritten
	default:
		if f.mayBeWritten(now) {
			return nil, errBeingWritten
		}
		return func() {}, nil
	}
}

// mayBeWritten is what there is to go by without a lease. The time of the
// inode counts, which nobody can set.
func (id identity) mayBeWritten(now time.Time) bool {
	return now.UnixNano()-id.changed < int64(time.Second)
}

func (f *File) thaw() {
	// Closing the file gives the lease back, too, should this fail.
	_, _ = unix.FcntlInt(uintptr(f.fd), unix.F_SETLEASE, unix.F_UNLCK)
}
