package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/tidwall/gjson"
)

// XAccelMapping says which file an X-Accel-Redirect means: the URI Prefix + "/"
// + rest is the file Dir + "/" + rest.
type XAccelMapping struct {
	Dir    string // absolute and clean
	Prefix string // without a slash at its end, so "" stands for "/"
}

const (
	// assetsPlaceholder stands in an asset pattern for the path below which the
	// app has its digested assets.
	assetsPlaceholder = "{assets}"
	// DefaultAssetsPrefix is that of Rails.
	DefaultAssetsPrefix = "/assets"

	// mostMegabytes keeps a slip of the finger from being a size.
	mostMegabytes = 1 << 20
)

// CompileAssetPatterns makes regular expressions of patterns (RE2) for an app
// whose assets are below assetsPrefix, which is taken literally. An error names
// the option and the pattern.
func CompileAssetPatterns(patterns []string, assetsPrefix string) ([]*regexp.Regexp, error) {
	compiled := make([]*regexp.Regexp, 0, len(patterns))
	literal := regexp.QuoteMeta(assetsPrefix)
	for _, pattern := range patterns {
		r, err := regexp.Compile(strings.ReplaceAll(pattern, assetsPlaceholder, literal))
		if err != nil {
			return nil, fmt.Errorf("option asset_patterns has %q, which is no regular expression that Go knows (%w)", pattern, err)
		}
		compiled = append(compiled, r)
	}
	return compiled, nil
}

// texts is a list of strings that are not empty; nil if the option is missing.
func (p *parser) texts(key string) []string {
	v := p.root.Get(key)
	if !v.Exists() || v.Type == gjson.Null {
		return nil
	}
	if !v.IsArray() {
		p.fail(key, "must be a list of strings")
		return nil
	}
	var list []string
	for _, item := range v.Array() {
		if item.Type != gjson.String || item.Str == "" {
			p.fail(key, fmt.Sprintf("must be a list of strings that are not empty, it has %.100s", item.Raw))
			return nil
		}
		list = append(list, item.Str)
	}
	return list
}

func (p *parser) directories(key string) []string {
	list := p.texts(key)
	for i, dir := range list {
		if !filepath.IsAbs(dir) {
			p.fail(key, fmt.Sprintf("has %q, which is no absolute path", dir))
		}
		list[i] = filepath.Clean(dir)
	}
	return list
}

// mappings reads DIR=/uri/prefix. As in Rack, the first = ends the directory.
func (p *parser) mappings(key string) []XAccelMapping {
	var list []XAccelMapping
	for _, text := range p.texts(key) {
		dir, prefix, found := strings.Cut(text, "=")
		if !found || !filepath.IsAbs(dir) || !strings.HasPrefix(prefix, "/") {
			p.fail(key, fmt.Sprintf("has %q, it must be DIR=/uri/prefix with an absolute path DIR", text))
			return nil
		}
		list = append(list, XAccelMapping{Dir: filepath.Clean(dir), Prefix: strings.TrimRight(prefix, "/")})
	}
	return list
}

// megabytes gives bytes.
func (p *parser) megabytes(key string, min int) int64 {
	return int64(p.number(key, min, mostMegabytes)) << 20
}
