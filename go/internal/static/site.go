package static

import (
	"bytes"
	"regexp"
	"slices"
)

// Site is the directories of one loading of the app, and what their URLs are.
type Site struct {
	Public *Root   // nil: no static files
	Pages  []*Root // with cached pages, in the order in which they are searched
	// Prefix is the URL path under which the app lives (relative_url_root): "" or
	// "/blog". Files are found with it and without.
	Prefix []byte
	// Assets tells by the path below Prefix which files have names that change
	// with their content.
	Assets []*regexp.Regexp
}

// candidate is a file that a URL may stand for.
type candidate struct {
	root   *Root
	suffix string
	// whole says that the file has the name of the URL, without a suffix.
	whole bool
}

const (
	htmlSuffix  = ".html"
	indexSuffix = "index.html"
)

// candidates lists the files that a place may stand for, in the order of
// preference; those of a directory have its path without the slash in front of
// their suffix, or with it.
func (s *Site) candidates(list []candidate, p place) []candidate {
	list = list[:0]
	if !p.directory {
		if s.Public != nil {
			list = append(list, candidate{s.Public, "", true})
		}
		for _, root := range s.Pages {
			if root != s.Public {
				list = append(list, candidate{root, "", true})
			}
			if !p.extension {
				list = append(list, candidate{root, htmlSuffix, false})
			}
		}
		return list
	}
	for _, root := range s.Pages {
		list = append(list, candidate{root, indexSuffix, false})
		if len(p.path) > 1 { // ActionPack keeps the page of /foo/ as that of /foo
			list = append(list, candidate{root, htmlSuffix, false})
		}
	}
	return list
}

// appendName renders the absolute path of a candidate.
func (c candidate) appendName(dst []byte, p place) []byte {
	dst = append(dst, c.root.dir...)
	path := p.path
	if p.directory && c.suffix == htmlSuffix {
		path = bytes.TrimSuffix(path, rootPath)
	}
	return append(append(dst, path...), c.suffix...)
}

func (s *Site) digested(path []byte) bool {
	return slices.ContainsFunc(s.Assets, func(re *regexp.Regexp) bool { return re.Match(path) })
}
