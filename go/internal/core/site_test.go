package core

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"passenger/go/internal/config"
	"passenger/go/internal/spawn"
)

// The directories of a site are not its own business to tell, so a file in each
// of them is asked for.
func TestWhatALoadedAppSaysDecidesWhereFilesAreLookedFor(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range []string{"1", "2"} {
		if err := os.MkdirAll(filepath.Join(base, "releases", release, "public"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	current := filepath.Join(base, "current")
	if err := os.Symlink("releases/1", current); err != nil {
		t.Fatal(err)
	}
	released := filepath.Join(base, "releases/1")
	options := config.Options{AppRoot: current, StaticFilesDir: current + "/public", PageCaching: true, AssetPatterns: []string{"^{assets}/x"}}
	for name, c := range map[string]struct {
		options func(*config.Options)
		facts   spawn.AppFacts
		public  string
		pages   []string
	}{
		"an app that is being loaded has the release that the link leads to": {
			nil, spawn.AppFacts{}, released + "/public", []string{released + "/public"}},
		"a loaded app has the release that it was loaded from": {
			nil, spawn.AppFacts{Root: base + "/releases/2"}, base + "/releases/2/public", []string{base + "/releases/2/public"}},
		"its own public directory counts": {
			nil, spawn.AppFacts{Root: released, PublicPath: "/srv/www"}, "/srv/www", []string{"/srv/www"}},
		"but less than one that was asked for": {
			func(o *config.Options) { o.StaticFilesDir = "/srv/asked" }, spawn.AppFacts{Root: released, PublicPath: "/srv/www"}, "/srv/asked", []string{"/srv/asked"}},
		"page cache directories come before the public one": {
			nil, spawn.AppFacts{Root: released, PageCacheDirs: []string{"/a", released + "/public", "/b"}}, released + "/public", []string{"/a", "/b", released + "/public"}},
		"an option overrides them": {
			func(o *config.Options) { o.PageCacheDir = current + "/cache" }, spawn.AppFacts{Root: released, PageCacheDirs: []string{"/a"}}, released + "/public", []string{released + "/cache", released + "/public"}},
		"without page caching there are none": {
			func(o *config.Options) { o.PageCaching = false }, spawn.AppFacts{Root: released, PageCacheDirs: []string{"/a"}}, released + "/public", nil},
		"without a public directory nothing is served but pages": {
			func(o *config.Options) { o.StaticFilesDir = "" }, spawn.AppFacts{Root: released, PageCacheDirs: []string{"/a"}}, "", []string{"/a"}},
	} {
		o := options
		if c.options != nil {
			c.options(&o)
		}
		site := (&Engine{options: o, log: slog.New(slog.DiscardHandler)}).site(c.facts)
		public := ""
		if site.Public != nil {
			public = site.Public.Dir()
		}
		var pages []string
		for _, root := range site.Pages {
			pages = append(pages, root.Dir())
		}
		if public != c.public || !reflect.DeepEqual(pages, c.pages) {
			t.Errorf("%s: public is %s, pages are in %v", name, public, pages)
		}
	}
}

func TestAssetPatternsFollowThePrefixOfTheApp(t *testing.T) {
	e := &Engine{options: config.Options{AssetPatterns: []string{"^{assets}/x"}}, log: slog.New(slog.DiscardHandler)}
	for prefix, path := range map[string]string{"": "/assets/x", "/static.files": "/static.files/x"} {
		site := e.site(spawn.AppFacts{AssetsPrefix: prefix})
		if len(site.Assets) != 1 || !site.Assets[0].MatchString(path) || site.Assets[0].MatchString("/staticXfiles/x") {
			t.Errorf("prefix %q: %v", prefix, site.Assets)
		}
	}
}
