package core

import (
	"bytes"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"passenger/go/internal/config"
	"passenger/go/internal/dispatch"
	"passenger/go/internal/httpd"
	"passenger/go/internal/static"
)

// Headers by which an app hands the sending of a file over to the server. They
// are the server's; no client gets to see them.
var (
	headerXSendfile      = []byte("x-sendfile")
	headerXAccelRedirect = []byte("x-accel-redirect")
)

// handedOver is the file that an app has named in a header.
type handedOver struct {
	header []byte // nil: it has named none
	value  string
}

// sendNamed answers with the file that the app has named. It must lie in one of
// sendfile_dirs, or be mapped there by x_accel_mappings, links resolved.
func (e *Engine) sendNamed(x *httpd.Exchange, c *dispatch.Call, named handedOver) error {
	c.Close()
	file, err := e.openNamed(named)
	if err != nil {
		return fmt.Errorf("the application gave the %s %q: %w", named.header, named.value, err)
	}
	static.Send(x, file)
	return nil
}

func (e *Engine) openNamed(named handedOver) (*static.File, error) {
	if !bytes.EqualFold(named.header, headerXAccelRedirect) {
		if !filepath.IsAbs(named.value) {
			return nil, fmt.Errorf("it is no absolute path")
		}
		file, err := e.sendfileDirs.Open(filepath.Clean(named.value))
		if err != nil {
			return nil, fmt.Errorf("%w (sendfile_dirs has the directories that files may be in)", err)
		}
		return file, nil
	}
	uri, _, _ := strings.Cut(named.value, "?")
	uri, err := url.PathUnescape(uri)
	if err != nil || !strings.HasPrefix(uri, "/") {
		return nil, fmt.Errorf("it is no path of a URL")
	}
	uri = path.Clean(uri) // what leads out by dots leads out of the mapping
	for _, m := range e.options.XAccelMappings {
		rest, ok := strings.CutPrefix(uri, m.Prefix+"/")
		if !ok {
			continue
		}
		return static.NewRoot(m.Dir, e.options.SendfileDirs).Open(filepath.Join(m.Dir, rest))
	}
	return nil, fmt.Errorf("no x_accel_mappings entry says which directory that is")
}

// mappingHeader renders mappings as Rack::Sendfile reads them from the header
// X-Accel-Mapping.
func mappingHeader(mappings []config.XAccelMapping) string {
	var parts []string
	for _, m := range mappings {
		parts = append(parts, strings.TrimRight(m.Dir, "/")+"/="+m.Prefix+"/")
	}
	return strings.Join(parts, ",")
}
