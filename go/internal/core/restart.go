package core

import (
	"os"
	"path/filepath"
	"time"
)

// restartWatch looks at tmp/restart.txt. A file that was there before the
// server does not restart anything; one that appears, or whose time of
// modification changes in either direction, does; one that is removed does not.
type restartWatch struct {
	path string
	last time.Time // zero: no file
}

func newRestartWatch(dir string) restartWatch {
	w := restartWatch{}
	if dir != "" {
		w.path = filepath.Join(dir, "restart.txt")
		w.changed()
	}
	return w
}

func (w *restartWatch) changed() bool {
	if w.path == "" {
		return false
	}
	var now time.Time
	if st, err := os.Stat(w.path); err == nil {
		now = st.ModTime()
	}
	before := w.last
	w.last = now
	return !now.IsZero() && !now.Equal(before)
}
