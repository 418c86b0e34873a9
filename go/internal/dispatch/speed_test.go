package dispatch

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"passenger/go/internal/link"
	"passenger/go/internal/link/linktest"
	"passenger/go/internal/spool"
)

// crew is a dispatcher with stand-in workers that answer at once.
func crew(b *testing.B, workers int) (*Dispatcher, func()) {
	b.Helper()
	d := New(Options{Spool: spool.Limits{Memory: 1 << 16, File: 1 << 20, Dir: b.TempDir()}, Log: slog.New(slog.DiscardHandler), Pressure: func() {}})
	g, err := d.NewGeneration(1, workers)
	if err != nil {
		b.Fatal(err)
	}
	var running sync.WaitGroup
	var seats []*Seat
	for range workers {
		seat, peers, err := g.NewSeat(1, func() {})
		if err != nil {
			b.Fatal(err)
		}
		var frame []byte
		payload := link.HeadPayload(link.AppendHeader(nil, "content-type", "text/plain"), []byte("hello"))
		w := &linktest.Worker{Queue: g.Queue().WorkersEnd(), Slot: peers[0], Board: g.Board(), Index: seat.Slots()[0],
			Answer: func(_ []byte, id uint64) []byte {
				frame = link.AppendFrame(frame[:0], link.FrameComplete, 200, id, payload)
				return frame
			}}
		running.Go(func() {
			w.Run()
			peers[0].Close()
		})
		seat.Ready()
		seats = append(seats, seat)
	}
	d.Serve(g)
	return d, func() {
		g.Drain()
		running.Wait()
		for _, s := range seats {
			s.Close()
		}
		if err := g.Close(); err != nil {
			b.Error(err)
		}
	}
}

func benchmarkClients(b *testing.B, clients, workers int) {
	d, finish := crew(b, workers)
	defer finish()
	var left atomic.Int64
	left.Store(int64(b.N))
	var running sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range clients {
		running.Go(func() {
			c := NewCall()
			for left.Add(-1) >= 0 {
				c.Reset()
				c.Request.AddString(link.KeyPathInfo, "/")
				c.Request.SetReceivedAt(1) // the engine has read the clock anyway
				c.Request.EndFields()
				if err := d.Submit(c); err != nil {
					b.Error(err)
					return
				}
				if err := c.Wait(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	b.StopTimer()
}

func BenchmarkOneClientOneWorker(b *testing.B)      { benchmarkClients(b, 1, 1) }
func BenchmarkManyClientsTwoWorkers(b *testing.B)   { benchmarkClients(b, 32, 2) }
func BenchmarkManyClientsEightWorkers(b *testing.B) { benchmarkClients(b, 32, 8) }
