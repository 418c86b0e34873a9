package spawn

import (
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"passenger/go/internal/link"
)

func TestTheFactsOfALoadedAppAreRead(t *testing.T) {
	for name, test := range map[string]struct {
		fields map[string]string
		want   AppFacts
	}{
		"none of an app that says none": {map[string]string{"pid": "1"}, AppFacts{}},
		"the root of a Rack app":        {map[string]string{"root": "/app"}, AppFacts{Root: "/app"}},
		"all of a Rails app": {
			map[string]string{
				"root": "/app", "public_path": "/app/public", "page_cache_dirs": "/app/public/cached\n/srv/pages",
				"assets_prefix": "/assets", "relative_url_root": "/blog",
			},
			AppFacts{
				Root: "/app", PublicPath: "/app/public", PageCacheDirs: []string{"/app/public/cached", "/srv/pages"},
				AssetsPrefix: "/assets", RelativeURLRoot: "/blog",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := appFacts(link.Message{Verb: "loaded", Fields: test.fields})
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("read %+v, %v", got, err)
			}
		})
	}
}

var impossibleFacts = map[string]map[string]string{
	"public\" is no absolute path":             {"public_path": "public"},
	"x\" is no absolute path":                  {"root": "x"},
	"pages\" is no absolute path":              {"page_cache_dirs": "/srv/pages\npages"},
	"has an empty line":                        {"page_cache_dirs": "/srv/pages\n"},
	"has 9 directories, at most 8 are allowed": {"page_cache_dirs": strings.TrimSuffix(strings.Repeat("/x\n", 9), "\n")},
	"\"assets\" does not begin with a slash":   {"assets_prefix": "assets"},
	"concurrency is \"none\"":                  {"concurrency": "none"},
	"concurrency is \"0\"":                     {"concurrency": "0"},
	"\"http://a\" does not begin with a slash": {"relative_url_root": "http://a"},
}

func TestFactsThatCannotBeAreRefused(t *testing.T) {
	for want, fields := range impossibleFacts {
		if _, err := appFacts(link.Message{Fields: fields}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, expected %s", fields, err, want)
		}
	}
}

func TestAPreloaderThatBreaksTheProtocolIsEndedAndReported(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	held, err := openProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer held.release()
	p := &Preloader{process: held}
	event, ok := p.event(link.Message{Verb: "loaded", Fields: map[string]string{"public_path": "public"}}).(BootFailed)
	if !ok || event.Preloader != p || !strings.Contains(event.Err.Message, `control message loaded: "public" is no absolute path`) {
		t.Errorf("event %+v", event)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Success() {
		t.Errorf("the preloader ended with %v", err)
	}
}

func TestALoadedAppIsReportedWithItsFacts(t *testing.T) {
	p := &Preloader{}
	event, ok := p.event(link.Message{Verb: "loaded", Fields: map[string]string{"root": "/app"}}).(Loaded)
	if !ok || event.Preloader != p || event.App.Root != "/app" {
		t.Errorf("event %+v", event)
	}
}
