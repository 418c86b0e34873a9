package admin

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// Purge says what is to be dropped from the response cache. Exactly one of
// the fields is set.
type Purge struct {
	URL    string // one resource, in all its variants
	Prefix string // every URL that begins like this
	Host   string // everything of one host
	All    bool
}

// Kind is what the value of a key in a body must be.
type Kind int

// The kinds.
const (
	StringField Kind = iota // a string that is not empty
	TrueField               // true: saying false would be saying nothing
	CountField              // a whole number of at least 1
)

func (s *Server) purge(r *Request) (any, error) {
	fields, err := r.Object(map[string]Kind{"url": StringField, "prefix": StringField, "host": StringField, "all": TrueField})
	if err != nil {
		return nil, err
	}
	if len(fields) != 1 {
		return nil, badRequest("the body must have exactly one of the keys all, host, prefix and url, it has %d", len(fields))
	}
	purged := 0
	if s.options.Purge != nil {
		purged, err = s.options.Purge(Purge{
			URL: fields["url"].String(), Prefix: fields["prefix"].String(), Host: fields["host"].String(), All: fields["all"].Bool(),
		})
		if err != nil {
			return nil, err
		}
	}
	return struct {
		okay
		Purged int `json:"purged"`
	}{okay{"ok"}, purged}, nil
}

// Object reads the body as a JSON object that has no other keys than the known
// ones, each at most once and with a value of its kind.
func (r *Request) Object(known map[string]Kind) (map[string]gjson.Result, error) {
	body := gjson.ParseBytes(r.Payload)
	if !gjson.ValidBytes(r.Payload) || !body.IsObject() {
		return nil, badRequest("the body must be a JSON object")
	}
	fields := map[string]gjson.Result{}
	var err error
	body.ForEach(func(k, value gjson.Result) bool {
		key := k.String()
		want, there := known[key]
		_, twice := fields[key]
		switch {
		case !there:
			err = badRequest("unknown key %q; known are %s", key, strings.Join(sortedKeys(known), ", "))
		case twice:
			err = badRequest("key %q is there twice", key)
		case want == StringField && (value.Type != gjson.String || value.Str == ""):
			err = badRequest("key %q must be a string that is not empty", key)
		case want == TrueField && value.Type != gjson.True:
			err = badRequest("key %q must be true", key)
		case want == CountField && (value.Type != gjson.Number || value.Num < 1 || value.Num != math.Trunc(value.Num)):
			err = badRequest("key %q must be a whole number of at least 1", key)
		}
		fields[key] = value
		return err == nil
	})
	return fields, err
}

func sortedKeys(known map[string]Kind) []string {
	var keys []string
	for key := range known {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func badRequest(format string, values ...any) error {
	return &Error{http.StatusBadRequest, fmt.Sprintf(format, values...)}
}
