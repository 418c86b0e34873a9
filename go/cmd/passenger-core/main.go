// Command passenger-core is the engine as a plain executable: where a Go
// shared library cannot be loaded (musl), for runs under the race detector
// and for debugging. It reads its options as JSON from the file it is given,
// or from standard input.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"passenger/go/internal/config"
	"passenger/go/internal/core"
)

func main() {
	file := flag.String("options", "-", "file with the options as a JSON object, - for standard input")
	version := flag.Bool("version", false, "print the version")
	flag.Parse()
	if *version {
		fmt.Println(core.Version)
		return
	}
	if err := run(*file); err != nil {
		fmt.Fprintln(os.Stderr, "passenger-core:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	text, err := read(file)
	if err != nil {
		return err
	}
	options, err := config.Parse(string(text))
	if err != nil {
		return err
	}
	options.Environ = os.Environ()
	engine, err := core.Start(options)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		engine.Wait()
		close(ended)
	}()
	for force := false; ; force = true {
		select {
		case <-signals:
			engine.Stop(force)
		case <-ended:
			return nil
		}
	}
}

func read(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(file)
}
