// Command cable-load holds many WebSockets open for the benchmarks and tells
// what arrives on them. It reads commands, one JSON object a line, from standard
// input and answers each with one on standard output:
//
//	connect  opens sockets, subscribes them if a channel is named, and returns when all are confirmed
//	publish  asks the application to broadcast, at a rate or as fast as it answers
//	report   waits until everything published has arrived, and tells what did and when
//	echo     sends a message on every socket and waits for its return
//
// It ends, and all sockets with it, at the end of its input.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

// command has what any of the commands may say.
type command struct {
	Do          string  `json:"do"`
	Address     string  `json:"address"`
	Path        string  `json:"path"`
	Sockets     int     `json:"sockets"`
	Streams     int     `json:"streams"`
	Channel     string  `json:"channel"`     // "": no Action Cable
	Connections int     `json:"connections"` // that publish, or connect, at the same time
	Rate        float64 `json:"rate"`        // broadcasts per second; 0: as fast as they are answered
	Count       int     `json:"count"`       // broadcasts altogether
	Batch       int     `json:"batch"`       // broadcasts per request
	Within      float64 `json:"within"`      // seconds
}

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "cable-load:", err)
		os.Exit(1)
	}
}

func serve() error {
	f, err := newFleet()
	if err != nil {
		return err
	}
	replies := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("cannot read the command %q: %w", lines.Text(), err)
		}
		reply, err := f.obey(c)
		if err != nil {
			reply = map[string]string{"error": err.Error()}
		}
		if err := replies.Encode(reply); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (f *fleet) obey(c command) (any, error) {
	switch c.Do {
	case "connect":
		return f.connect(c)
	case "publish":
		return f.publish(c)
	case "report":
		return f.report(c)
	case "echo":
		return f.echo(c)
	}
	return nil, fmt.Errorf("there is no command %q", c.Do)
}
