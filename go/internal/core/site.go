package core

import (
	"path/filepath"
	"strings"

	"passenger/go/internal/config"
	"passenger/go/internal/spawn"
	"passenger/go/internal/static"
)

// site says which files are served for a loading of the app; facts are what it
// has told about itself, nothing as long as it is being loaded. Directories of
// the app are those of the release that was loaded: when a deployment switches
// the link to another one, they change with the processes, not before.
func (e *Engine) site(facts spawn.AppFacts) *static.Site {
	o := e.options
	root := facts.Root
	if root == "" {
		root = o.AppRoot
		if real, err := filepath.EvalSymlinks(root); err == nil {
			root = real
		}
	}
	released := func(dir string) string {
		if rest, below := strings.CutPrefix(dir, o.AppRoot+"/"); below {
			return filepath.Join(root, rest)
		}
		return dir
	}
	site := &static.Site{Prefix: []byte(facts.RelativeURLRoot)}
	public := ""
	if o.StaticFilesDir != "" {
		public = released(o.StaticFilesDir)
		if facts.PublicPath != "" && o.StaticFilesDir == filepath.Join(o.AppRoot, "public") {
			public = filepath.Clean(facts.PublicPath)
		}
		site.Public = static.NewRoot(public, o.StaticSymlinkDirs)
	}
	if o.PageCaching {
		dirs := facts.PageCacheDirs
		if o.PageCacheDir != "" {
			dirs = []string{released(o.PageCacheDir)}
		}
		for _, dir := range dirs {
			if dir = filepath.Clean(dir); dir != public {
				site.Pages = append(site.Pages, static.NewRoot(dir, o.StaticSymlinkDirs))
			}
		}
		if site.Public != nil {
			site.Pages = append(site.Pages, site.Public)
		}
	}
	prefix := facts.AssetsPrefix
	if prefix == "" {
		prefix = config.DefaultAssetsPrefix
	}
	var err error
	if site.Assets, err = config.CompileAssetPatterns(o.AssetPatterns, prefix); err != nil {
		e.log.Error("digested assets are not recognised", "error", err) // they compile with the default prefix
	}
	return site
}
