package core

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"passenger/go/internal/config"
	"passenger/go/internal/static"
)

func TestOnlyFilesInPermittedDirectoriesAreSentByName(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"app/file", "app/sub/a b", "mapped/zip", "secret", "application/file"} {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for target, link := range map[string]string{"../secret": "app/out", "file": "app/in", "/etc/passwd": "mapped/passwd"} {
		if err := os.Symlink(target, filepath.Join(base, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(base, "app/fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	e := &Engine{
		options: config.Options{XAccelMappings: []config.XAccelMapping{
			{Dir: base + "/mapped", Prefix: "/protected"}, {Dir: base + "/app", Prefix: ""},
		}},
		sendfileDirs: static.NewDirs([]string{base + "/app", base + "/none"}),
	}
	for name, c := range map[string]struct {
		header []byte
		value  string
		want   string // "": refused
	}{
		"a file in the app":                     {headerXSendfile, base + "/app/file", "app/file"},
		"one by a roundabout path":              {headerXSendfile, base + "/app/sub/../file", "app/file"},
		"a link that stays inside":              {headerXSendfile, base + "/app/in", "app/file"},
		"a link that leads out":                 {headerXSendfile, base + "/app/out", ""},
		"a path that leads out":                 {headerXSendfile, base + "/app/../secret", ""},
		"a directory whose name begins like it": {headerXSendfile, base + "/application/file", ""},
		"a relative path":                       {headerXSendfile, "app/file", ""},
		"a path with a NUL byte":                {headerXSendfile, base + "/app/file\x00", ""},
		"a directory":                           {headerXSendfile, base + "/app/sub", ""},
		"a FIFO":                                {headerXSendfile, base + "/app/fifo", ""},
		"nothing there":                         {headerXSendfile, base + "/app/none", ""},
		"a mapped URI":                          {headerXAccelRedirect, "/protected/zip", "mapped/zip"},
		"one with a query":                      {headerXAccelRedirect, "/protected/zip?token=1", "mapped/zip"},
		"one with escapes":                      {headerXAccelRedirect, "/sub/a%20b", "app/sub/a b"},
		"one that leaves its mapping by dots":   {headerXAccelRedirect, "/protected/../../secret", ""},
		"one that does so by escaped dots":      {headerXAccelRedirect, "/protected/%2e%2e/secret", ""},
		"one that does so by an escaped slash":  {headerXAccelRedirect, "/protected/..%2f..%2fsecret", ""},
		"a mapped URI of a link that leads out": {headerXAccelRedirect, "/protected/passwd", ""},
		"a URI that is no path":                 {headerXAccelRedirect, "protected/zip", ""},
		"a URI with a broken escape":            {headerXAccelRedirect, "/protected/%zz", ""},
	} {
		file, err := e.openNamed(handedOver{c.header, c.value})
		if (err == nil) != (c.want != "") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err != nil {
			continue
		}
		content, err := io.ReadAll(io.NewSectionReader(file, 0, file.Size()))
		if err = errors.Join(err, file.Close()); err != nil || string(content) != c.want {
			t.Errorf("%s: %q, %v", name, content, err)
		}
	}
	e.options.XAccelMappings = nil
	if _, err := e.openNamed(handedOver{headerXAccelRedirect, "/protected/zip"}); err == nil {
		t.Error("a URI is served that is not mapped")
	}
}

func TestTheAppLearnsTheMappingsAsRackReadsThem(t *testing.T) {
	got := mappingHeader([]config.XAccelMapping{{Dir: "/srv/files", Prefix: "/files"}, {Dir: "/", Prefix: ""}})
	if got != "/srv/files/=/files/,/=/" {
		t.Errorf("the header is %s", got)
	}
	if got := mappingHeader(nil); got != "" {
		t.Errorf("without mappings it is %s", got)
	}
}
