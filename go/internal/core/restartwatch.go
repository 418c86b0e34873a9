package core

import (
	"os"
	"path/filepath"
	"time"
)

// restartWatch looks at tmp/restart.txt. A file that was there before the
// server does not restart anything; one that appears, or whose time of
// modification changes in either direction, does; one that is removed does not.
//
// While always_restart.txt is there, each request is for newly loaded code.
type restartWatch struct {
	path    string
	present string    // always_restart.txt
	last    time.Time // zero: no file
}

func newRestartWatch(dir string) restartWatch {
	w := restartWatch{}
	if dir != "" {
		w.path = filepath.Join(dir, "restart.txt")
		w.present = filepath.Join(dir, "always_restart.txt")
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

func (w *restartWatch) always() bool {
	if w.present == "" {
		return false
	}
	_, err := os.Stat(w.present)
	return err == nil
}
