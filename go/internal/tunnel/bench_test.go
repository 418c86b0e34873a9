package tunnel

import (
	"io"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func BenchmarkMessage(b *testing.B) { benchmark(b, 200, 1) }

func BenchmarkTransfer(b *testing.B) { benchmark(b, 1<<20, 1000) }

// benchmark has the client send messages of a size; so many may be on their way.
func benchmark(b *testing.B, size, ahead int) {
	r := newRig(b, new(Set), nil)
	r.client.SetDeadline(time.Time{})
	r.app.SetDeadline(time.Time{})
	message, got := make([]byte, size), make([]byte, size)
	credits := make(chan struct{}, ahead)
	go func() {
		for range credits {
			if _, err := r.client.Write(message); err != nil {
				return
			}
		}
	}()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for range ahead - 1 {
		credits <- struct{}{}
	}
	for b.Loop() {
		credits <- struct{}{}
		if _, err := io.ReadFull(r.app, got); err != nil {
			b.Fatal(err)
		}
	}
	close(credits)
}

// BenchmarkBroadcast has an app send a message through each of many tunnels.
// Both ends are ordinary blocking sockets, of which the Go runtime knows nothing.
func BenchmarkBroadcast(b *testing.B) {
	const tunnels = 500
	set := new(Set)
	var apps, clients [tunnels]int
	for i := range tunnels {
		r := newRig(b, set, nil)
		for end, conn := range map[*int]syscall.Conn{&apps[i]: r.app, &clients[i]: r.client} {
			raw, err := conn.SyscallConn()
			if err != nil {
				b.Fatal(err)
			}
			raw.Control(func(fd uintptr) { *end, err = unix.Dup(int(fd)) })
			if err != nil {
				b.Fatal(err)
			}
			unix.SetNonblock(*end, false)
			defer unix.Close(*end)
		}
		r.app.Close()
		r.client.Close()
	}
	message, got := make([]byte, 200), make([]byte, 400)
	for b.Loop() {
		for _, app := range apps {
			unix.Write(app, message)
		}
		for _, client := range clients {
			if n, err := unix.Read(client, got); n != len(message) {
				b.Fatal(n, err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/tunnels, "ns/message")
}
