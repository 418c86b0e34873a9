package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// published is the answer to publish. Started is on the machine's monotonic clock.
type published struct {
	Broadcasts int     `json:"broadcasts"`
	Started    float64 `json:"started"`
	Seconds    float64 `json:"seconds"`
}

// publish has several connections ask for broadcasts. Each has streams of its
// own and waits for the answer to one request before the next: that is what
// gives the broadcasts of a stream an order.
func (f *fleet) publish(c command) (any, error) {
	publishers, batch := min(max(c.Connections, 1), len(f.published)), max(c.Batch, 1)
	if c.Count%(publishers*batch) != 0 {
		return nil, fmt.Errorf("%d broadcasts cannot be divided among %d connections in requests of %d", c.Count, publishers, batch)
	}
	requests := c.Count / publishers / batch
	started, clock := time.Now(), monotonic()
	var all sync.WaitGroup
	errs := make([]error, publishers)
	for number := range publishers {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: time.Minute}
			defer client.CloseIdleConnections()
			stream := number
			for i := range requests {
				if c.Rate > 0 {
					// The publishers take turns.
					due := float64((i*publishers+number)*batch) / c.Rate
					time.Sleep(time.Until(started.Add(time.Duration(due * float64(time.Second)))))
				}
				if errs[number] = f.ask(client, c.Path, stream, batch); errs[number] != nil {
					return
				}
				if stream += publishers; stream >= len(f.published) {
					stream = number
				}
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return published{c.Count, clock.Seconds(), time.Since(started).Seconds()}, nil
}

// ask has the application broadcast the next numbers of a stream.
func (f *fleet) ask(client *http.Client, path string, stream, batch int) error {
	f.mu.Lock()
	first := f.published[stream] + 1
	f.mu.Unlock()
	url := fmt.Sprintf("http://%s%s?stream=%d&first=%d&count=%d", f.address, path, stream, first, batch)
	answer, err := client.Post(url, "text/plain", nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s was answered with %s", url, answer.Status)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.published[stream] += batch
	return nil
}
