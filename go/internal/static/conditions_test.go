package static

import (
	"net/http"
	"testing"
	"time"
)

// The file of these tests was last changed at date, and has the tag "v1".
const (
	date   = "Sun, 09 Sep 2001 01:46:40 GMT"
	before = "Sun, 09 Sep 2001 01:46:39 GMT"
	after  = "Sun, 09 Sep 2001 01:46:41 GMT"
)

func known() (v validators) {
	v.etag = []byte(`"v1"`)
	v.setSeconds(longAgo)
	return v
}

func TestConditionsHoldInTheOrderOfRFC9110(t *testing.T) {
	type fields struct{ match, unmodified, noneMatch, modified string }
	for sentence, c := range map[string]struct {
		fields fields
		want   int
	}{
		"nothing is asked":                                       {fields{}, 200},
		"If-Match with the tag":                                  {fields{match: `"v1"`}, 200},
		"If-Match with another tag":                              {fields{match: `"v2"`}, 412},
		"If-Match with the tag in a list":                        {fields{match: `"v0", "v1"`}, 200},
		"If-Match with the tag in a list without spaces":         {fields{match: `"v0","v1"`}, 200},
		"If-Match with empty list elements":                      {fields{match: `, ,"v1",`}, 200},
		"If-Match with a tag that has a comma in it":             {fields{match: `"a,b", "v1"`}, 200},
		"If-Match compares strongly":                             {fields{match: `W/"v1"`}, 412},
		"If-Match with any":                                      {fields{match: `*`}, 200},
		"If-Match with a tag without quotes":                     {fields{match: `v1`}, 412},
		"If-Match with an unfinished tag":                        {fields{match: `"v1`}, 412},
		"If-Match with nothing":                                  {fields{match: " "}, 412},
		"If-Match takes case seriously":                          {fields{match: `"V1"`}, 412},
		"If-Match with a part of the tag":                        {fields{match: `"v"`}, 412},
		"If-Match comes before If-Unmodified-Since":              {fields{match: `"v1"`, unmodified: before}, 200},
		"If-Match that fails, too":                               {fields{match: `"v2"`, unmodified: after}, 412},
		"If-Unmodified-Since its date":                           {fields{unmodified: date}, 200},
		"If-Unmodified-Since a later date":                       {fields{unmodified: after}, 200},
		"If-Unmodified-Since an earlier date":                    {fields{unmodified: before}, 412},
		"If-Unmodified-Since no date":                            {fields{unmodified: "yesterday"}, 200},
		"If-Unmodified-Since an earlier date in RFC 850's form":  {fields{unmodified: "Sunday, 09-Sep-01 01:46:39 GMT"}, 412},
		"If-Unmodified-Since its date in RFC 850's form":         {fields{unmodified: "Sunday, 09-Sep-01 01:46:40 GMT"}, 200},
		"If-Unmodified-Since an earlier date in asctime's form":  {fields{unmodified: "Sun Sep  9 01:46:39 2001"}, 412},
		"If-None-Match with the tag":                             {fields{noneMatch: `"v1"`}, 304},
		"If-None-Match compares weakly":                          {fields{noneMatch: `W/"v1"`}, 304},
		"If-None-Match with the tag in a list of all kinds":      {fields{noneMatch: `W/"v0", "x" , W/"v1"`}, 304},
		"If-None-Match with another tag":                         {fields{noneMatch: `"v2"`}, 200},
		"If-None-Match with any":                                 {fields{noneMatch: `*`}, 304},
		"If-None-Match with nothing":                             {fields{noneMatch: " "}, 200},
		"If-None-Match with what is no list":                     {fields{noneMatch: `v1, "v1"`}, 200},
		"If-None-Match comes before If-Modified-Since":           {fields{noneMatch: `"v2"`, modified: after}, 200},
		"If-None-Match that holds, too":                          {fields{noneMatch: `"v1"`, modified: before}, 304},
		"If-None-Match with nothing, too":                        {fields{noneMatch: " ", modified: after}, 200},
		"If-Modified-Since its date":                             {fields{modified: date}, 304},
		"If-Modified-Since a later date":                         {fields{modified: after}, 304},
		"If-Modified-Since an earlier date":                      {fields{modified: before}, 200},
		"If-Modified-Since no date":                              {fields{modified: "0"}, 200},
		"If-Modified-Since its date in RFC 850's form":           {fields{modified: "Sunday, 09-Sep-01 01:46:40 GMT"}, 304},
		"If-Modified-Since its date in asctime's form":           {fields{modified: "Sun Sep  9 01:46:40 2001"}, 304},
		"If-Modified-Since an earlier date in asctime's form":    {fields{modified: "Sun Sep  9 01:46:39 2001"}, 200},
		"If-Modified-Since a date in another zone":               {fields{modified: "Sun, 09 Sep 2001 01:46:40 PST"}, 200},
		"If-Match that holds is followed by If-None-Match":       {fields{match: `"v1"`, noneMatch: `"v1"`}, 304},
		"If-Match that fails is followed by nothing":             {fields{match: `"v2"`, noneMatch: `"v1"`}, 412},
		"If-Unmodified-Since is followed by If-None-Match":       {fields{unmodified: date, noneMatch: `"v1"`}, 304},
		"If-Unmodified-Since is followed by If-Modified-Since":   {fields{unmodified: date, modified: date}, 304},
		"If-Unmodified-Since that fails is followed by nothing":  {fields{unmodified: before, modified: date}, 412},
		"If-Match that holds is followed by If-Modified-Since":   {fields{match: `*`, modified: date}, 304},
		"all of them, and nothing has changed":                   {fields{`"v1"`, date, `"v1"`, date}, 304},
		"all of them, and the client has an earlier version yet": {fields{`"v1"`, date, `"v0"`, before}, 200},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := c
			conditions := conditions{match: field(c.fields.match), unmodifiedSince: field(c.fields.unmodified), noneMatch: field(c.fields.noneMatch),
				modifiedSince: field(c.fields.modified)}
			if got := conditions.status(known()); got != c.want {
				t.Errorf("%d, not %d", got, c.want)
			}
		})
	}
}

// field is what a header field is to conditions: nil if it was not sent.
func field(value string) []byte {
	switch value {
	case "":
		return nil
	case " ":
		return []byte{}
	}
	return []byte(value)
}

func TestConditionsOnWhatIsNotKnown(t *testing.T) {
	undated, untagged, neither := known(), known(), validators{}
	undated.date = nil
	untagged.etag = nil
	weak := known().weak()
	for sentence, c := range map[string]struct {
		conditions conditions
		validators validators
		want       int
	}{
		"without a tag If-Match fails":                        {conditions{match: []byte(`"v1"`)}, untagged, 412},
		"without a tag the empty one does not match":          {conditions{match: []byte(`""`)}, untagged, 412},
		"without a tag If-Match with any holds":               {conditions{match: []byte(`*`)}, neither, 200},
		"without a tag If-None-Match holds":                   {conditions{noneMatch: []byte(`"v1"`)}, untagged, 200},
		"without a tag If-Modified-Since is not asked either": {conditions{noneMatch: []byte(`"v1"`), modifiedSince: []byte(after)}, untagged, 200},
		"without a date the file may have been modified":      {conditions{modifiedSince: []byte(after)}, undated, 200},
		"without a date it may have been, again":              {conditions{unmodifiedSince: []byte(after)}, undated, 412},
		"without a date what is no date is ignored":           {conditions{unmodifiedSince: []byte("x")}, undated, 200},
		"a weak tag is no match":                              {conditions{match: []byte(`W/"v1"`)}, weak, 412},
		"a weak tag is no match for a strong one":             {conditions{match: []byte(`"v1"`)}, weak, 412},
		"a weak tag is a match for who has it":                {conditions{noneMatch: []byte(`W/"v1"`)}, weak, 304},
		"a weak tag is a match for who has the strong one":    {conditions{noneMatch: []byte(`"v1"`)}, weak, 304},
	} {
		if got := c.conditions.status(c.validators); got != c.want {
			t.Errorf("%s: %d, not %d", sentence, got, c.want)
		}
	}
}

func TestARangeIsForWhoHasTheSameVersion(t *testing.T) {
	undated, untagged := known(), known()
	undated.date = nil
	untagged.etag = nil
	later := time.Unix(longAgo+100, 0)
	for sentence, c := range map[string]struct {
		ifRange    string
		validators validators
		now        time.Time
		want       bool
	}{
		"no condition":                        {"", known(), later, true},
		"the tag":                             {`"v1"`, known(), later, true},
		"another tag":                         {`"v2"`, known(), later, false},
		"a weak tag":                          {`W/"v1"`, known(), later, false},
		"a weak tag of a weak content":        {`W/"v1"`, known().weak(), later, false},
		"the strong tag of a weak content":    {`"v1"`, known().weak(), later, false},
		"a list of tags":                      {`"v1", "v2"`, known(), later, false},
		"a tag where there is none":           {`"v1"`, untagged, later, false},
		"any tag, which the field cannot say": {`*`, known(), later, false},
		"the date":                            {date, known(), later, true},
		"the date in asctime's form":          {"Sun Sep  9 01:46:40 2001", known(), later, true},
		"an earlier date":                     {before, known(), later, false},
		"a later date":                        {after, known(), later, false},
		"a date where there is none":          {date, undated, later, false},
		"the date of the running second":      {date, known(), time.Unix(longAgo, 999_999_999), false},
		"the date of the last second":         {date, known(), time.Unix(longAgo+1, 0), true},
		"no date":                             {"soon", known(), later, false},
		"nothing":                             {" ", known(), later, false},
	} {
		conditions := conditions{ranges: []byte("bytes=0-1"), ifRange: field(c.ifRange)}
		if got := conditions.wantsRange(c.validators, c.now); got != c.want {
			t.Errorf("%s: %v", sentence, got)
		}
	}
}

func TestConditionsAreReadFromTheRequest(t *testing.T) {
	r := newRig(t, nil)
	r.write("a.txt", "some text")
	etag := r.get("/a.txt").Header.Get("ETag")
	for sentence, c := range map[string]struct {
		fields []string
		want   int
	}{
		"tags in several fields":                     {[]string{`If-None-Match: "x"`, "If-None-Match: " + etag}, 304},
		"tags in several fields of which none fits":  {[]string{`If-None-Match: "x"`, `If-None-Match: "y"`}, 200},
		"names in any case":                          {[]string{"if-none-match: " + etag}, 304},
		"an empty If-Match, which nothing satisfies": {[]string{"If-Match:"}, 412},
		"an empty If-None-Match, ahead of a date":    {[]string{"If-None-Match:", "If-Modified-Since: " + date}, 200},
		"a date twice, which is none":                {[]string{"If-Modified-Since: " + date, "If-Modified-Since: " + date}, 200},
		"two ranges in two fields, which are none":   {[]string{"Range: bytes=0-1", "Range: bytes=3-4"}, 200},
		"a range for another tag":                    {[]string{"Range: bytes=0-1", `If-Range: "x"`}, 200},
		"a range for the tag":                        {[]string{"Range: bytes=0-1", "If-Range: " + etag}, 206},
		"a range for the date":                       {[]string{"Range: bytes=0-1", "If-Range: " + date}, 206},
		"a range of what is not modified":            {[]string{"Range: bytes=0-1", "If-None-Match: " + etag}, 304},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			want := c.want
			if method == http.MethodHead && want == 206 {
				want = 200
			}
			r.ask(method, "/a.txt", c.fields...).is(t, method+", "+sentence, want)
		}
	}
}

func TestHeadersThatGoWithEachStatus(t *testing.T) {
	r := newRig(t, nil)
	content := text(2000)
	r.write("a.css", content)
	r.write("a.css.br", "twin")
	r.write("assets/a-0123abcd.css", content)
	lasting := "Cache-Control: public, max-age=315360000, immutable"
	expires := "Expires: Thu, 31 Dec 2037 23:55:55 GMT"
	encoded := "Accept-Encoding: br"
	dated := "Last-Modified: " + date
	tag := "ETag: " + r.get("/a.css").Header.Get("ETag")
	twin := "ETag: " + r.get("/a.css", encoded).Header.Get("ETag")
	for sentence, c := range map[string]struct {
		target string
		asked  []string
		status int
		fields []string
	}{
		"the file": {"/a.css", nil, 200, []string{"Content-Type: text/css; charset=utf-8", "Content-Length: 2000", "Accept-Ranges: bytes",
			"Vary: Accept-Encoding", dated, tag, "Content-Encoding:", "Content-Range:", "Cache-Control:", "Expires:"}},
		"its twin": {"/a.css", []string{encoded}, 200, []string{"Content-Type: text/css; charset=utf-8", "Content-Length: 4", "Accept-Ranges:",
			"Vary: Accept-Encoding", "Content-Encoding: br", dated, twin}},
		"a part": {"/a.css", []string{"Range: bytes=0-9"}, 206, []string{"Content-Type: text/css; charset=utf-8", "Content-Length: 10",
			"Content-Range: bytes 0-9/2000", "Accept-Ranges: bytes", "Vary: Accept-Encoding", dated, tag, "Content-Encoding:"}},
		"a part, encoded forms accepted": {"/a.css", []string{encoded, "Range: bytes=0-9"}, 206, []string{"Content-Encoding:",
			"Content-Length: 10", tag, "Vary: Accept-Encoding"}},
		"no part that there is": {"/a.css", []string{"Range: bytes=2000-"}, 416, []string{"Content-Range: bytes */2000", "Content-Length: 0",
			"Content-Type:", "Content-Encoding:", "Vary: Accept-Encoding"}},
		"nothing new":             {"/a.css", []string{"If-None-Match: *"}, 304, []string{tag, dated, "Content-Type:", "Content-Range:", "Vary: Accept-Encoding"}},
		"nothing new in the twin": {"/a.css", []string{"If-None-Match: *", encoded}, 304, []string{twin, "Content-Encoding:", "Vary: Accept-Encoding"}},
		"a condition that fails":  {"/a.css", []string{`If-Match: "x"`}, 412, []string{"Content-Type:", "Content-Length: 0", "Content-Range:"}},
		"one on the twin":         {"/a.css", []string{`If-Match: "x"`, encoded}, 412, []string{"Content-Encoding:", "Content-Length: 0"}},
		"an asset": {"/assets/a-0123abcd.css", nil, 200, []string{lasting, expires, "ETag:", dated, "Vary: Accept-Encoding",
			"Accept-Ranges: bytes"}},
		"an asset, encoded":                  {"/assets/a-0123abcd.css", []string{encoded}, 200, []string{lasting, expires, "ETag:", dated, "Content-Encoding: br"}},
		"a part of an asset":                 {"/assets/a-0123abcd.css", []string{"Range: bytes=-5"}, 206, []string{lasting, expires, "Content-Length: 5"}},
		"an asset without news":              {"/assets/a-0123abcd.css", []string{"If-Modified-Since: " + date}, 304, []string{lasting, expires, dated}},
		"an asset without the part":          {"/assets/a-0123abcd.css", []string{"Range: bytes=5000-"}, 416, []string{"Cache-Control:", "Expires:"}},
		"an asset with a condition":          {"/assets/a-0123abcd.css", []string{"If-Unmodified-Since: " + before}, 412, []string{"Cache-Control:", "Expires:"}},
		"an asset with a condition on a tag": {"/assets/a-0123abcd.css", []string{`If-Match: "x"`, encoded}, 412, []string{"Cache-Control:", "Content-Encoding:"}},
	} {
		a := r.get(c.target, c.asked...)
		a.is(t, sentence, c.status, c.fields...)
		if c.status >= 300 && a.body != "" {
			t.Errorf("%s: the body is %q", sentence, a.body)
		}
	}
}
