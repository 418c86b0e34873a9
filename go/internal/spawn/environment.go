package spawn

import "strings"

// Bundler keeps the environment it was given under this prefix, with this
// value for what was not set.
const (
	bundlerSaved = "BUNDLER_ORIG_"
	bundlerUnset = "BUNDLER_ENVIRONMENT_PRESERVER_INTENTIONALLY_NIL"
)

// environment undoes `bundle exec`: the preloader sets up the bundle of the
// app by itself, and after a deployment that may be another one than the
// bundle this server was started with.
func environment(inherited []string) []string {
	saved := map[string]string{}
	for _, entry := range inherited {
		if rest, ok := strings.CutPrefix(entry, bundlerSaved); ok {
			key, value, _ := strings.Cut(rest, "=")
			saved[key] = value
		}
	}
	var env []string
	for _, entry := range inherited {
		key, _, _ := strings.Cut(entry, "=")
		if _, restored := saved[key]; restored || strings.HasPrefix(key, "BUNDLER_") {
			continue
		}
		env = append(env, entry)
	}
	for key, value := range saved {
		if value != bundlerUnset {
			env = append(env, key+"="+value)
		}
	}
	return env
}
