package spawn

import (
	"slices"
	"testing"
)

func TestTheEnvironmentOfBundleExecIsUndone(t *testing.T) {
	got := environment([]string{
		"HOME=/root", "RUBYOPT=-rbundler/setup", "BUNDLE_GEMFILE=/old/Gemfile", "BUNDLER_VERSION=2.3", "PATH=/bundle:/bin",
		"BUNDLER_ORIG_RUBYOPT=BUNDLER_ENVIRONMENT_PRESERVER_INTENTIONALLY_NIL",
		"BUNDLER_ORIG_BUNDLE_GEMFILE=/mine/Gemfile", "BUNDLER_ORIG_PATH=/bin", "BUNDLER_ORIG_GONE=back",
	})
	slices.Sort(got)
	if want := []string{"BUNDLE_GEMFILE=/mine/Gemfile", "GONE=back", "HOME=/root", "PATH=/bin"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestAnEnvironmentWithoutBundlerStaysAsItIs(t *testing.T) {
	env := []string{"A=1", "B==", "BUNDLE_GEMFILE=/g"}
	if got := environment(env); !slices.Equal(got, env) {
		t.Errorf("got %v", got)
	}
}
