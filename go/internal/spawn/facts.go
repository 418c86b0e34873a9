package spawn

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"passenger/go/internal/dispatch"
	"passenger/go/internal/link"
)

// AppFacts is what a loaded app says about itself. What is not known is empty.
type AppFacts struct {
	Root            string   // where its preloader works, without symlinks
	PublicPath      string   // absolute
	PageCacheDirs   []string // absolute, at most maxPageCacheDirs
	AssetsPrefix    string   // of URL paths: "/assets"; "/" for none
	RelativeURLRoot string   // of URL paths: "/blog"; "" for the root
	Concurrency     int      // requests at once in a process (advertised_concurrency_level); 0: not said
	Threads         []string // that the app has started while it was loaded, by name
}

// maxPageCacheDirs bounds what is looked up for a request. The preloader sends
// no more.
const maxPageCacheDirs = 8

// appFacts reads the fields of a loaded message.
func appFacts(m link.Message) (AppFacts, error) {
	facts := AppFacts{
		Root:            m.Get("root"),
		PublicPath:      m.Get("public_path"),
		AssetsPrefix:    m.Get("assets_prefix"),
		RelativeURLRoot: m.Get("relative_url_root"),
	}
	if level := m.Get("concurrency"); level != "" {
		n, err := strconv.Atoi(level)
		if err != nil || n < 1 {
			return AppFacts{}, fmt.Errorf("concurrency is %q, not a number of requests", level)
		}
		facts.Concurrency = n
	}
	if threads := m.Get("threads"); threads != "" {
		facts.Threads = strings.Split(threads, "\n")
	}
	if dirs := m.Get("page_cache_dirs"); dirs != "" {
		facts.PageCacheDirs = strings.Split(dirs, "\n")
	}
	if n := len(facts.PageCacheDirs); n > maxPageCacheDirs {
		return AppFacts{}, fmt.Errorf("page_cache_dirs has %d directories, at most %d are allowed", n, maxPageCacheDirs)
	}
	for _, dir := range append([]string{facts.Root, facts.PublicPath}, facts.PageCacheDirs...) {
		if dir != "" && !filepath.IsAbs(dir) {
			return AppFacts{}, fmt.Errorf("%q is no absolute path", dir)
		}
	}
	for _, dir := range facts.PageCacheDirs {
		if dir == "" {
			return AppFacts{}, errors.New("page_cache_dirs has an empty line")
		}
	}
	for _, prefix := range []string{facts.AssetsPrefix, facts.RelativeURLRoot} {
		if prefix != "" && !strings.HasPrefix(prefix, "/") {
			return AppFacts{}, fmt.Errorf("%q does not begin with a slash", prefix)
		}
	}
	return facts, nil
}

// loaded is the event for a loaded message. One that breaks the protocol comes
// from a preloader of another version, which must not serve.
func (p *Preloader) loaded(m link.Message) Event {
	facts, err := appFacts(m)
	if err != nil {
		p.kill()
		return BootFailed{Preloader: p, Err: &dispatch.BootError{
			Class:   "ProtocolError",
			Message: fmt.Sprintf("control message loaded: %v; the engine and the preloader come from different installations of passenger", err),
		}}
	}
	return Loaded{Preloader: p, App: facts}
}
