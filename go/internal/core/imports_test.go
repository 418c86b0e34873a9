package core

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// forbidden says which packages must not import what (prefixes).
var forbidden = map[string][]string{
	"admin":     {"passenger/", "os/exec"},
	"cable":     {"passenger/", "net/http", "os/exec", "golang.org/", "github.com/"},
	"pool":      {"net", "os", "syscall", "golang.org/", "passenger/"},
	"link":      {"passenger/", "net/http", "os/exec"},
	"spool":     {"passenger/", "net"},
	"dispatch":  {"passenger/go/internal/core", "passenger/go/internal/httpd", "passenger/go/internal/spawn", "os/exec", "github.com/"},
	"httpd":     {"passenger/go/internal/core", "passenger/go/internal/dispatch", "passenger/go/internal/spawn"},
	"spawn":     {"passenger/go/internal/core", "passenger/go/internal/httpd"},
	"compress":  {"passenger/go/internal/core", "passenger/go/internal/dispatch", "passenger/go/internal/static"},
	"respcache": {"passenger/go/internal/core", "passenger/go/internal/dispatch", "passenger/go/internal/static", "passenger/go/internal/compress"},
	"tunnel":    {"passenger/"},
	"static":    {"passenger/go/internal/core", "passenger/go/internal/dispatch", "passenger/go/internal/respcache"},
	"errorpage": {"passenger/go/internal/core"},
	"procinfo":  {"passenger/", "net", "os/exec", "golang.org/", "github.com/"},
}

func TestImportsFormALine(t *testing.T) {
	for name, never := range forbidden {
		for path, file := range importsOf(t, name) {
			for _, prefix := range never {
				if path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/") {
					t.Errorf("%s imports %s", file, path)
				}
			}
		}
	}
}

func TestOnlyTheLibraryImportsC(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if file, there := importsOf(t, e.Name())["C"]; there {
			t.Errorf("%s imports C", file)
		}
	}
}

// importsOf maps the imports of a package's files, tests left out, to a file.
func importsOf(t *testing.T, name string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", name, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("package %s: %d files, %v", name, len(files), err)
	}
	imports := map[string]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			imports[path] = file
		}
	}
	return imports
}
