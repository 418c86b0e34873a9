package tunnel

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// runningDirections is how many goroutines run directions of tunnels.
func runningDirections() int {
	stacks := make([]byte, 4<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "tunnel.(*direction).run(")
}

func TestQuietTunnelsHaveNoGoroutines(t *testing.T) {
	set := new(Set)
	var rigs []*rig
	for range 20 {
		rigs = append(rigs, newRig(t, set, func(e *Ends) { e.Head, e.Early = []byte("head"), []byte("early") }))
	}
	for _, r := range rigs {
		r.expect(r.client, "head")
		r.expect(r.app, "early")
		for range 10 {
			r.send(r.client, "question")
			r.expect(r.app, "question")
			r.send(r.app, "answer")
			r.expect(r.client, "answer")
		}
	}
	for end := time.Now().Add(patience); runningDirections() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d directions are running", runningDirections())
		}
	}
	rigs[0].exchange(rigs[0].client, 8<<20)
}

func TestWatchersGoWithTheLastTunnelAndComeBack(t *testing.T) {
	set := new(Set)
	for range 3 {
		r := newRig(t, set, nil)
		r.send(r.app, "hello")
		r.expect(r.client, "hello")
		r.app.Close()
		r.client.Close()
		r.awaitCount(0)
		set.mu.Lock()
		if set.quiet != (watchers{}) {
			t.Error("a watcher is left")
		}
		set.mu.Unlock()
	}
}

// A direction is parked and woken all the time here, by both kinds of goroutines.
func TestMessagesOfAllSizesArriveInOrderWhileTunnelsComeAndGo(t *testing.T) {
	set := new(Set)
	var all sync.WaitGroup
	for seed := range uint64(8) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, 5))
			for range 6 {
				r := newRig(t, set, nil)
				var both sync.WaitGroup
				downwards := random.Uint64()
				both.Go(func() { converse(t, downwards, r.app, r.client) })
				upwards := random.Uint64()
				both.Go(func() { converse(t, upwards, r.client, r.app) })
				both.Wait()
				if random.IntN(2) == 0 {
					r.client.SetLinger(0)
				}
				r.client.Close()
				r.app.Close()
			}
		})
	}
	all.Wait()
	(&rig{TB: t, set: set}).awaitCount(0)
}

// converse sends numbered messages, up to what a buffer just does not take, and reads them at the other end.
func converse(t *testing.T, seed uint64, from, to net.Conn) {
	random := rand.New(rand.NewPCG(seed, 6))
	messages := make(chan string, 16)
	go func() {
		defer close(messages)
		for number := range 60 {
			size := 1 << random.IntN(15)
			message := fmt.Sprintf("%d:", number) + strings.Repeat("x", size+random.IntN(size))
			messages <- message
			if _, err := io.WriteString(from, message); err != nil {
				t.Error(err)
				return
			}
			if random.IntN(4) == 0 {
				time.Sleep(time.Duration(random.IntN(300)) * time.Microsecond)
			}
		}
	}()
	for message := range messages {
		got := make([]byte, len(message))
		if _, err := io.ReadFull(to, got); err != nil || string(got) != message {
			t.Errorf("%.20q, %v instead of %.20q", got, err, message)
			break
		}
	}
	for range messages {
	}
}
