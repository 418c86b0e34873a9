package static

import (
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// localFileSystems answer from memory or a disk of this machine.
var localFileSystems = map[string]bool{
	"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true, "zfs": true, "f2fs": true, "bcachefs": true,
	"overlay": true, "tmpfs": true, "ramfs": true, "squashfs": true, "erofs": true, "iso9660": true, "vfat": true, "rootfs": true,
}

// kernelFileSystems have no files that are served.
var kernelFileSystems = map[string]bool{
	"proc": true, "sysfs": true, "devtmpfs": true, "devpts": true, "mqueue": true, "cgroup": true, "cgroup2": true, "securityfs": true,
	"debugfs": true, "tracefs": true, "pstore": true, "bpf": true, "configfs": true, "fusectl": true, "hugetlbfs": true, "nsfs": true,
	"binfmt_misc": true, "efivarfs": true, "selinuxfs": true, "rpc_pipefs": true,
}

// allLocal reports whether every file system of this machine is a local one.
// Looking at a file that is in the kernel's caches then takes a microsecond,
// and the scheduler need not be told: being told costs more than that, since it
// begins to watch for threads that got stuck. A network that hangs does get them
// stuck, so with a file system behind one the scheduler is told.
func allLocal() bool {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	return onlyLocal(string(mounts))
}

func onlyLocal(mountinfo string) bool {
	for line := range strings.Lines(mountinfo) {
		// The type is the first field after a lone hyphen (proc_pid_mountinfo(5)).
		_, after, found := strings.Cut(line, " - ")
		kind, _, _ := strings.Cut(after, " ")
		if !found || !localFileSystems[kind] && !kernelFileSystems[kind] {
			return false
		}
	}
	return true
}

// stats looks at files; quick says that this never takes long.
type stats struct{ quick bool }

// regular looks at the file of a name that ends in NUL; false unless it is a
// regular one, links followed.
func (s stats) regular(name []byte, st *unix.Stat_t) bool {
	at := unix.AT_FDCWD
	var errno syscall.Errno
	if s.quick {
		_, _, errno = syscall.RawSyscall6(unix.SYS_NEWFSTATAT, uintptr(at),
			uintptr(unsafe.Pointer(unsafe.SliceData(name))), uintptr(unsafe.Pointer(st)), 0, 0, 0)
	} else {
		_, _, errno = syscall.Syscall6(unix.SYS_NEWFSTATAT, uintptr(at),
			uintptr(unsafe.Pointer(unsafe.SliceData(name))), uintptr(unsafe.Pointer(st)), 0, 0, 0)
	}
	return errno == 0 && st.Mode&unix.S_IFMT == unix.S_IFREG
}
