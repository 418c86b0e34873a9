package procinfo

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// tree writes files below a new root and makes a system of them.
func tree(t *testing.T, files map[string]string) system {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return system{root: root, read: os.ReadFile}
}

// refusing fails with an error where the file of this name is read. (Tests run
// as root, too, whom file modes do not stop.)
func (s system) refusing(name string, err error) system {
	inner := s.read
	s.read = func(path string) ([]byte, error) {
		if path == filepath.Join(s.root, name) {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		return inner(path)
	}
	return s
}
