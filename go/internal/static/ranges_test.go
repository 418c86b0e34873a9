package static

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	mimeparts "mime/multipart"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestRangesOfAContentOfAHundredBytes(t *testing.T) {
	ignored := []span{{-1, -1}}
	many := func(n int) string { return "bytes=" + strings.TrimSuffix(strings.Repeat("1-1,", n), ",") }
	for sentence, c := range map[string]struct {
		field string
		want  []span
	}{
		"the first bytes":                              {"bytes=0-9", []span{{0, 10}}},
		"one byte":                                     {"bytes=5-5", []span{{5, 1}}},
		"all bytes":                                    {"bytes=0-", []span{{0, 100}}},
		"from a byte":                                  {"bytes=90-", []span{{90, 10}}},
		"the last byte":                                {"bytes=99-", []span{{99, 1}}},
		"the last bytes":                               {"bytes=-10", []span{{90, 10}}},
		"more last bytes than there are":               {"bytes=-1000", []span{{0, 100}}},
		"an end beyond the content":                    {"bytes=95-1000", []span{{95, 5}}},
		"an end that no 64 bits can hold":              {"bytes=95-99999999999999999999", []span{{95, 5}}},
		"a suffix that no 64 bits can hold":            {"bytes=-99999999999999999999", []span{{0, 100}}},
		"leading zeros":                                {"bytes=0000000000000000000000005-0009", []span{{5, 5}}},
		"a start at the end":                           {"bytes=100-", nil},
		"a start beyond the end":                       {"bytes=500-600", nil},
		"a start that no 64 bits can hold":             {"bytes=99999999999999999999-", nil},
		"the largest number of 64 bits":                {"bytes=9223372036854775807-", nil},
		"the last no bytes":                            {"bytes=-0", nil},
		"several ranges":                               {"bytes=0-9,20-29,-10", []span{{0, 10}, {20, 10}, {90, 10}}},
		"ranges in any order":                          {"bytes=50-59,0-9", []span{{50, 10}, {0, 10}}},
		"ranges that overlap a little":                 {"bytes=0-9,5-14", []span{{0, 10}, {5, 10}}},
		"ranges of which some are there":               {"bytes=500-,0-9,-0", []span{{0, 10}}},
		"ranges of which none is there":                {"bytes=500-,600-", nil},
		"ranges that are the whole together":           {"bytes=0-49,50-", []span{{0, 50}, {50, 50}}},
		"ranges that are more than the whole together": {"bytes=0-49,49-", ignored},
		"the whole twice":                              {"bytes=0-,0-", ignored},
		"as many ranges as are allowed":                {many(maxRanges), slices.Repeat([]span{{1, 1}}, maxRanges)},
		"more ranges than are allowed":                 {many(maxRanges + 1), ignored},
		"more ranges that are not there":               {"bytes=" + strings.Repeat("500-,", maxRanges+1), ignored},
		"white space around ranges":                    {"bytes= 0-9 ,\t20-29 ", []span{{0, 10}, {20, 10}}},
		"empty list elements":                          {"bytes=,,0-9,,", []span{{0, 10}}},
		"nothing but empty list elements":              {"bytes=, ,", ignored},
		"no ranges":                                    {"bytes=", ignored},
		"no equals sign":                               {"bytes", ignored},
		"nothing":                                      {"", ignored},
		"the unit in capitals":                         {"BYTES=0-9", []span{{0, 10}}},
		"another unit":                                 {"seconds=0-9", ignored},
		"no unit":                                      {"=0-9", ignored},
		"an end before the start":                      {"bytes=9-0", ignored},
		"one good range and one backwards":             {"bytes=0-1,9-0", ignored},
		"a lone hyphen":                                {"bytes=-", ignored},
		"a lone number":                                {"bytes=5", ignored},
		"two hyphens":                                  {"bytes=0-5-9", ignored},
		"a negative start":                             {"bytes=--5", ignored},
		"signs":                                        {"bytes=+0-+9", ignored},
		"letters":                                      {"bytes=a-b", ignored},
		"hexadecimal digits":                           {"bytes=0x0-0x9", ignored},
		"digits that are not ASCII":                    {"bytes=٠-٩", ignored},
		"two units":                                    {"bytes=0-1, bytes=3-4", ignored},
	} {
		spans, ok := parseRanges([]byte(c.field), 100, nil)
		if want := !slices.Equal(c.want, ignored); ok != want {
			t.Errorf("%s (%q): counts: %v", sentence, c.field, ok)
		} else if ok && !slices.Equal(spans, c.want) {
			t.Errorf("%s (%q): %v, not %v", sentence, c.field, spans, c.want)
		}
	}
}

func TestNoRangeOfAnEmptyContentIsThere(t *testing.T) {
	for _, field := range []string{"bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=0-,0-"} {
		if spans, ok := parseRanges([]byte(field), 0, nil); !ok || len(spans) != 0 {
			t.Errorf("%s: %v %v", field, spans, ok)
		}
	}
}

func FuzzRanges(f *testing.F) {
	for _, field := range []string{"bytes=0-9", "bytes=-5,3-", "bytes=9-0", "bytes=,", "bytes=99999999999999999999-", "bytes=-0", "x", "bytes=0-,1-,2-"} {
		for _, size := range []int64{0, 1, 100, 1<<62 - 1, 1<<63 - 1} {
			f.Add([]byte(field), size)
		}
	}
	f.Fuzz(func(t *testing.T, field []byte, size int64) {
		if size < 0 {
			t.Skip()
		}
		spans, ok := parseRanges(field, size, nil)
		if !ok && spans != nil || len(spans) > maxRanges {
			t.Fatalf("%q of %d: %v, %v", field, size, spans, ok)
		}
		for _, s := range spans {
			if s.start < 0 || s.length <= 0 || s.start >= size || s.length > size-s.start {
				t.Fatalf("%q of %d: %v", field, size, s)
			}
		}
	})
}

// What comes in memory, from a borrowed buffer and from the file.
func TestPartsAreThoseOfTheContentAndAsLongAsAnnounced(t *testing.T) {
	for what, c := range map[string]struct {
		size      int
		cacheSize int64
	}{
		"kept in memory": {5000, 1 << 20}, "read each time": {5000, 0}, "sent from the file": {copyMax + 5000, 0},
	} {
		r := newRig(t, func(o *Options) { o.CacheSize = c.cacheSize })
		content := text(c.size)
		r.write("a.txt", content)
		for range 2 {
			for _, field := range []string{"0-0", "0-", "-1", "17-4711", "-4999", "3-99999999"} {
				a := r.get("/a.txt", "Range: bytes="+field)
				spans, ok := parseRanges([]byte("bytes="+field), int64(c.size), nil)
				if !ok || len(spans) != 1 {
					t.Fatal(field)
				}
				s := spans[0]
				a.says(t, what+" "+field, content[s.start:s.start+s.length])
				a.is(t, what+" "+field, 206, fmt.Sprintf("Content-Range: bytes %d-%d/%d", s.start, s.start+s.length-1, c.size),
					"Content-Length: "+strconv.FormatInt(s.length, 10))
			}
			checkParts(t, r.get("/a.txt", "Range: bytes=0-0,10-19,-7,5-1000"), content, []span{{0, 1}, {10, 10}, {int64(c.size) - 7, 7}, {5, 996}})
			checkParts(t, r.get("/a.txt", "Range: bytes=4000-,100-200"), content, []span{{4000, int64(c.size) - 4000}, {100, 101}})
		}
		r.noFileOpen()
	}
}

func checkParts(t *testing.T, a answer, content string, spans []span) {
	t.Helper()
	mediaType, parameters, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/byteranges" {
		t.Fatal(mediaType, err)
	}
	a.is(t, "parts", 206, "Content-Range:", "Content-Length: "+strconv.Itoa(len(a.body)))
	reader := mimeparts.NewReader(strings.NewReader(a.body), parameters["boundary"])
	for _, s := range spans {
		part, err := reader.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		want := string(appendContentRange(nil, s, int64(len(content))))
		if got := part.Header.Get("Content-Range"); got != want {
			t.Errorf("Content-Range %q, not %q", got, want)
		}
		if got := part.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
			t.Errorf("type %q", got)
		}
		body, err := io.ReadAll(part)
		if err != nil || string(body) != content[s.start:s.start+s.length] {
			t.Errorf("%v: %d bytes, %v", s, len(body), err)
		}
	}
	if _, err := reader.NextRawPart(); err != io.EOF {
		t.Errorf("after the last part: %v", err)
	}
}

// The parts are put together beforehand as if the file stood still: when it has
// changed in the meantime, the end must not look like one.
func TestPartsOfAFileThatChangesHaveNoEnd(t *testing.T) {
	for sentence, change := range map[string]func(r *rig, path, content string){
		"cut off": func(r *rig, path, content string) { r.writeTo(path, "short") },
		"rewritten": func(r *rig, path, content string) {
			r.writeTo(path, strings.ToUpper(content))
			r.date(path, tomorrow())
		},
		"made longer":    func(r *rig, path, content string) { r.writeTo(path, content+"more") },
		"left as it was": func(r *rig, path, content string) {},
	} {
		r := newRig(t, nil)
		content := text(10_000)
		path := r.write("a.txt", content)
		file, err := NewRoot(r.dir, nil).Open(path)
		if err != nil {
			t.Fatal(err)
		}
		body, length, _ := newMultipart(file, file, file.Size(), []span{{0, 10}, {20, 10}}, []byte("text/plain"))
		first := make([]byte, 10)
		if _, err := io.ReadFull(body, first); err != nil {
			t.Fatal(err)
		}
		change(r, path, content)
		var rest bytes.Buffer
		_, err = io.Copy(&rest, body)
		whole := int64(10+rest.Len()) == length
		if intact := sentence == "left as it was"; whole != intact || (err == nil) != intact {
			t.Errorf("%s: complete: %v, %v", sentence, whole, err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
}
