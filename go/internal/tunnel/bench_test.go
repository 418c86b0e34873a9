package tunnel

import (
	"io"
	"testing"
	"time"
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
