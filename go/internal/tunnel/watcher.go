package tunnel

import (
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watcher waits for many quiet tunnels in one goroutine, with an epoll instance
// of its own. It passes small messages on by itself; what takes longer it leaves
// to a goroutine for that direction. So a quiet tunnel needs no stack, and a
// message no change of goroutines.
type watcher struct {
	file    *os.File // the epoll instance
	raw     syscall.RawConn
	tunnels int // guarded by Set.mu

	mu         sync.Mutex
	directions []*direction // by the descriptor of their source

	ready    [128]unix.EpollEvent
	n        int
	errno    syscall.Errno
	buffer   [bufferSize]byte
	out      []byte
	readOnce func(fd uintptr)
	sendOnce func(fd uintptr)
}

// mostWatchers is how many processors may be busy with messages at once.
const mostWatchers = 4

// watchers are those of a set. They are there only while it has tunnels.
type watchers [mostWatchers]*watcher

// join gives the watcher of a new tunnel; nil if there can be none, and then the
// tunnel waits in goroutines of its own.
func (ws *watchers) join() *watcher {
	var chosen **watcher
	for i := range min(mostWatchers, max(1, runtime.GOMAXPROCS(0)/2)) {
		w := &ws[i]
		if *w == nil {
			*w = newWatcher()
		}
		if *w != nil && (chosen == nil || (*w).tunnels < (*chosen).tunnels) {
			chosen = w
		}
	}
	if chosen == nil {
		return nil
	}
	(*chosen).tunnels++
	return *chosen
}

// leave is called when the tunnel is no longer watched.
func (ws *watchers) leave(w *watcher) {
	if w == nil {
		return
	}
	if w.tunnels--; w.tunnels > 0 {
		return
	}
	for i := range ws {
		if ws[i] == w {
			ws[i] = nil
		}
	}
	w.file.Close() // ends run
}

func newWatcher() *watcher {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil
	}
	w := &watcher{file: os.NewFile(uintptr(fd), "epoll")}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		w.file.Close()
		return nil
	}
	w.readOnce = func(fd uintptr) { w.n, w.errno = read(fd, &w.buffer) }
	w.sendOnce = func(fd uintptr) { w.n, w.errno = send(fd, w.out) }
	go w.run()
	return w
}

// watch begins to watch a tunnel whose directions are running.
func (w *watcher) watch(t *tunnel) bool {
	return t.client.raw != nil && w.add(t.client.raw, &t.up) && w.add(t.app.raw, &t.down)
}

func (w *watcher) add(source syscall.RawConn, d *direction) bool {
	failed := error(unix.EBADF)
	err := source.Control(func(fd uintptr) {
		w.mu.Lock()
		for int(fd) >= len(w.directions) {
			w.directions = append(w.directions, nil)
		}
		w.directions[fd] = d
		w.mu.Unlock()
		failed = w.control(unix.EPOLL_CTL_ADD, fd)
	})
	return err == nil && failed == nil
}

// forget is called before the sockets of a tunnel are closed: the descriptor of
// the client's may not be the only one, and would go on being watched.
func (w *watcher) forget(t *tunnel) {
	for _, source := range []syscall.RawConn{t.client.raw, t.app.raw} {
		if source == nil {
			continue
		}
		// What is closed is watched no more.
		_ = source.Control(func(fd uintptr) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if int(fd) >= len(w.directions) || w.directions[fd] == nil || w.directions[fd].t != t {
				return
			}
			w.directions[fd] = nil
			_ = w.control(unix.EPOLL_CTL_DEL, fd)
		})
	}
}

func (w *watcher) control(operation int, fd uintptr) error {
	var failed error
	err := w.raw.Control(func(epoll uintptr) {
		failed = unix.EpollCtl(int(epoll), operation, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: int32(fd)})
	})
	if err != nil {
		return err
	}
	return failed
}

// run passes messages on until the epoll instance is closed.
func (w *watcher) run() {
	count := 0
	wait := func(fd uintptr) bool {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&w.ready)), uintptr(len(w.ready)), 0, 0, 0)
		if errno != 0 {
			n = 0
		}
		count = int(n)
		return count > 0
	}
	for {
		// The Go runtime watches the epoll instance as it does any file.
		if err := w.raw.Read(wait); err != nil {
			return
		}
		for i := range count {
			event := &w.ready[i]
			w.mu.Lock()
			d := w.directions[event.Fd]
			w.mu.Unlock()
			if d != nil && d.wake() {
				w.serve(d, event.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0)
			}
		}
	}
}

// mostMessages is how many of one direction are passed on before the others
// have their turn.
const mostMessages = 4

// serve passes on what has come in a direction, which it runs. The end of the
// stream, if that has come, too, is told by no later event.
func (w *watcher) serve(d *direction, ended bool) {
	from, to := d.ends()
	for range mostMessages {
		if err := from.raw.Control(w.readOnce); err != nil {
			go d.run(nil, err)
			return
		}
		switch {
		case w.errno == syscall.EAGAIN:
			if d.park() {
				return
			}
			continue
		case w.errno != 0:
			go d.run(nil, w.errno)
			return
		case w.n == 0:
			go d.run(nil, io.EOF)
			return
		}
		arrived := w.n
		if sent := w.pass(to, w.buffer[:arrived]); d.deaf || sent < arrived || arrived == bufferSize {
			go d.run(append([]byte(nil), w.buffer[sent:arrived]...), nil)
			return
		}
		if !ended && d.park() {
			return
		}
	}
	go d.run(nil, nil)
}

// pass says how much of b could be passed on at once. What has gone wrong shows
// again when the rest is.
func (w *watcher) pass(to side, b []byte) int {
	w.out = b
	err := to.raw.Control(w.sendOnce)
	w.out = nil
	if err != nil || w.errno != 0 {
		return 0
	}
	return w.n
}
