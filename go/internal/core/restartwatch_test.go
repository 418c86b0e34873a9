package core

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestOnlyAChangeOfRestartTxtCounts(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "restart.txt")
	touch := func(at time.Time) {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	touch(now)
	w := newRestartWatch(dir)
	for _, step := range []struct {
		what string
		do   func()
		want bool
	}{
		{"a file from before the start", func() {}, false},
		{"a newer time", func() { touch(now.Add(time.Second)) }, true},
		{"no change", func() {}, false},
		{"an older time", func() { touch(now.Add(-time.Hour)) }, true},
		{"removal", func() { os.Remove(path) }, false},
		{"appearance", func() { touch(now.Add(-time.Hour)) }, true},
	} {
		step.do()
		if got := w.changed(); got != step.want {
			t.Errorf("%s: restart %v", step.what, got)
		}
	}
}
