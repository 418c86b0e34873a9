package static

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// sealed is content with its checksum in front, so that a mixture of two shows.
func sealed(random *rand.Rand, size int) string {
	body := strings.Repeat(strconv.FormatUint(random.Uint64(), 36)+"\n", size/8+1)
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:]) + body
}

func intact(content string) bool {
	if len(content) < 2*sha256.Size {
		return false
	}
	sum := sha256.Sum256([]byte(content[2*sha256.Size:]))
	return hex.EncodeToString(sum[:]) == content[:2*sha256.Size]
}

// Some goroutines write, replace and remove files and their twins, others ask for
// them, with a store that is too small for all. The clock is right here.
func TestEveryAnswerIsOneVersionOfItsFile(t *testing.T) {
	r := newRig(t, func(o *Options) { o.CacheSize = 400 << 10 })
	r.ahead.Store(0)
	const names = 12
	duration := 2 * time.Second
	var stop atomic.Bool
	time.AfterFunc(duration, func() { stop.Store(true) })
	var running sync.WaitGroup
	var served, encoded, apps, broken atomic.Int64
	for writer := range uint64(3) {
		running.Go(func() {
			random := rand.New(rand.NewPCG(writer, 1))
			for !stop.Load() {
				path := filepath.Join(r.dir, fmt.Sprintf("f%d.css", random.IntN(names)))
				content := sealed(random, []int{50, 3000, 40_000, copyMax + 1000, keepMax + 1000}[random.IntN(5)])
				var err error
				switch random.IntN(6) {
				case 0: // small ones: what is sent by the kernel cannot be held back
					content = sealed(random, 3000)
					err = os.WriteFile(path, []byte(content), 0o644)
				case 1, 2, 3:
					mine := fmt.Sprintf("%s.%d", path, writer)
					if err = os.WriteFile(mine, []byte(content), 0o644); err == nil {
						err = os.Rename(mine, path)
					}
				case 4:
					if err = os.Remove(path); os.IsNotExist(err) {
						err = nil
					}
				case 5: // a compressed form of what it has now, or not
					err = os.WriteFile(path+".zst", []byte(sealed(random, 3000)), 0o644)
				}
				if err != nil {
					t.Error(err)
				}
				time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
			}
		})
	}
	for reader := range uint64(6) {
		running.Go(func() {
			random := rand.New(rand.NewPCG(reader, 2))
			c := dialed(r)
			for !stop.Load() {
				accept := []string{"identity", "gzip", "zstd"}[random.IntN(3)]
				a := c.get(fmt.Sprintf("/f%d.css", random.IntN(names)), "Accept-Encoding: "+accept)
				content := a.body
				if a.err != nil || a.Close {
					broken.Add(1) // it changed while it was sent
					c.conn.Close()
					c = dialed(r)
					continue
				}
				if content == fromApp {
					apps.Add(1)
					continue
				}
				if a.Header.Get("Content-Encoding") == "gzip" {
					z, err := gzip.NewReader(strings.NewReader(content))
					if err != nil {
						t.Error(err)
						continue
					}
					plain, err := io.ReadAll(z)
					if err != nil {
						t.Error(err)
					}
					content = string(plain)
					encoded.Add(1)
				}
				if !intact(content) {
					t.Errorf("%d bytes that nobody has written, %v", len(content), a.Header)
				}
				served.Add(1)
			}
		})
	}
	running.Go(func() { // a new generation
		for !stop.Load() {
			r.files.Use(r.site)
			time.Sleep(300 * time.Millisecond)
		}
	})
	running.Wait()
	r.files.store.check(t, "at the end")
	if served.Load() == 0 || apps.Load() == 0 {
		t.Errorf("%d answers, %d encoded, %d by the app, %d broken off", served.Load(), encoded.Load(), apps.Load(), broken.Load())
	}
	t.Logf("%d answers, %d encoded, %d by the app, %d broken off", served.Load(), encoded.Load(), apps.Load(), broken.Load())
}
