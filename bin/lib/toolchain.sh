# Go, the two bundles, and the build. Needs base.sh, packages.sh and clients.sh.

# Finds a Go that is new enough for go.mod, or says in one sentence what to do.
check_go() {
  needed=$(sed -n 's/^go //p' "$project/go.mod")
  if ! command -v go >/dev/null && [ -x /usr/local/go/bin/go ]; then
    PATH=$PATH:/usr/local/go/bin
    export PATH
  fi
  command -v go >/dev/null ||
    fail "Go is not installed (or not in PATH); version $needed or newer is needed: https://go.dev/doc/install"

  # Without GOTOOLCHAIN=local an old Go would fetch a new one from the network behind our back.
  found=$(cd / && GOTOOLCHAIN=local go env GOVERSION | sed 's/^go//; s/[^0-9.].*//')
  oldest=$(printf '%s\n' "$needed" "$found" | sort -V | head -n 1)
  [ "$oldest" = "$needed" ] ||
    fail "Go $found ($(command -v go)) is too old; version $needed or newer is needed: https://go.dev/doc/install"
}

# Can everything in this Gemfile be loaded from the gems on this machine? Asked without `bundle check`, since newer Bundlers go to
# the network for that as long as there is no Gemfile.lock.
bundle_satisfied() {
  (cd "$1" && BUNDLE_GEMFILE=$1/Gemfile ruby -rbundler/setup -e 0)
}

# prepare_bundle DIRECTORY
prepare_bundle() {
  bundle_satisfied "$1" >/dev/null 2>&1 && return 0
  if on_debian; then
    # The lock is no source: it may name versions that Debian has replaced since.
    rm -f "$1/Gemfile.lock"
    bundle_satisfied "$1" || fail "Debian's gems do not satisfy $1/Gemfile (see above)"
  else
    (cd "$1" && BUNDLE_GEMFILE=$1/Gemfile bundle install) || fail "bundle install failed in $1"
  fi
}

compile() {
  (cd "$project" && bundle exec rake compile)
}

# set_up KIND: everything that KIND (app, test, bench) needs: packages, bundles, the compiled gem. Quick when it is all there.
set_up() {
  check_go
  if on_debian; then
    case $1 in
      app) install_packages $build_packages $app_packages ;;
      test) install_packages $build_packages $app_packages $test_packages ;;
      bench) install_packages $build_packages $app_packages $bench_packages ;;
      *) fail "unknown kind of set-up \"$1\": app, test or bench" ;;
    esac
  else
    name_requirements
  fi
  prepare_bundle "$project"
  prepare_bundle "$project/examples/bulletin"
  [ "$1" != test ] || install_clients
  step "Building" compile || exit 1
}
