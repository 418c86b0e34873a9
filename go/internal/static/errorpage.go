package static

import (
	"net/http"
	"strconv"
)

// errorPageMax is the largest error page, in bytes.
const errorPageMax = 1 << 20

// ErrorPage is the app's own page for an error of the server: NNN.html in the
// public directory. For 5xx without one it is 500.html, but for 503, which is
// about the moment and not about an error. nil: there is none.
func (f *Files) ErrorPage(status int) []byte {
	page := f.errorPage(status)
	if page == nil && status > http.StatusInternalServerError && status != http.StatusServiceUnavailable {
		page = f.errorPage(http.StatusInternalServerError)
	}
	return page
}

func (f *Files) errorPage(status int) []byte {
	root := f.site.Load().Public
	if root == nil {
		return nil
	}
	name := root.dir + "/" + strconv.Itoa(status) + ".html"
	file, err := root.Open(name)
	if err != nil {
		f.grumble.about(name, err)
		return nil
	}
	defer file.Close()
	if file.size == 0 || file.size > errorPageMax {
		return nil
	}
	page := make([]byte, file.size)
	if _, err := file.ReadAt(page, 0); err != nil {
		f.grumble.about(name, err)
		return nil
	}
	return page
}
