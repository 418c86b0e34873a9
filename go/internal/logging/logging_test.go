package logging

import (
	"errors"
	"strings"
	"testing"
)

func TestAnEntryIsOneLineAndBacktracesABlockBelow(t *testing.T) {
	for name, c := range map[string]struct {
		attrs []any
		want  string
	}{
		"nothing more":     {nil, "] it happened\n"},
		"plain values":     {[]any{"pid", 7, "path", "/a"}, "] it happened pid=7 path=/a\n"},
		"values in quotes": {[]any{"why", "no such file", "empty", ""}, "] it happened why=\"no such file\" empty=\"\"\n"},
		"a backtrace":      {[]any{"backtrace", "slot 0\n  app.rb:1\n", "pid", 7}, "] it happened pid=7\n    slot 0\n      app.rb:1\n"},
		"a long error":     {[]any{"error", errors.New("a\nb")}, "] it happened\n    a\n    b\n"},
	} {
		var out strings.Builder
		New(&out).Info("it happened", c.attrs...)
		if !strings.HasSuffix(out.String(), c.want) {
			t.Errorf("%s: %q, expected %q at its end", name, out.String(), c.want)
		}
	}
}
