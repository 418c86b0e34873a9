package cable

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// BenchmarkPublish passes messages of 200 bytes from one process to others.
func BenchmarkPublish(b *testing.B) {
	for _, subscribers := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			r := start(b, Options{})
			var receiving sync.WaitGroup
			for i := range subscribers {
				p := r.connect(fmt.Sprint(i))
				p.subscribe("chat")
				receiving.Go(func() {
					for range b.N {
						if _, err := readFrame(p.r); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			conn, err := net.Dial("unix", r.path)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			w := bufio.NewWriter(conn)
			f := newFrame(kindPublish, 0, "chat", strings.Repeat("m", 200))
			b.SetBytes(int64(len(f) * subscribers))
			b.ReportAllocs()
			b.ResetTimer()
			w.Write(newFrame(kindHello, Version, "", "publisher"))
			for range b.N {
				if _, err := w.Write(f); err != nil {
					b.Fatal(err)
				}
			}
			w.Flush()
			receiving.Wait()
		})
	}
}
