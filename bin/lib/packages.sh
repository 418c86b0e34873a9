# What the project needs from the operating system, in one place. Needs base.sh.

# To build the gem and to run its specs. `make` and the rest are what a bare Debian has not.
build_packages="ca-certificates git gcc libc6-dev make ruby ruby-dev ruby-bundler rake ruby-rspec"
# To run the example application.
app_packages="ruby-rails ruby-sqlite3 ruby-sprockets-rails ruby-actionpack-page-caching"
# Programs and libraries that the specs use: a browser, other servers to compare with or to stand in front, ps and curl, WebSockets.
test_packages="procps curl puma chromium nginx haproxy ruby-websocket-driver ruby-faye-websocket"
# Node, for Rails' own client of Action Cable. Node from elsewhere brings its npm along and does not get on with Debian's.
command -v npm >/dev/null || test_packages="$test_packages nodejs npm"
# Services that the specs start for themselves (setpriv, of util-linux, gives PostgreSQL a user that is not root), and the
# gems with which their applications use them.
test_packages="$test_packages postgresql redis-server util-linux ruby-pg ruby-redis ruby-connection-pool ruby-sequel"
# Peers and tools of the benchmarks. (Debian's `passenger` is the original.)
bench_packages="wrk passenger puma nginx procps redis-server ruby-redis ruby-rails"

# The example application on other backends, where the environment names them.
case ${DATABASE_URL:-} in postgres*) app_packages="$app_packages ruby-pg" ;; esac
[ -z "${REDIS_URL:-}" ] || app_packages="$app_packages ruby-redis"

# Rack 3 has its command and its handlers in a gem of their own, and Debian 13 in a package of its own.
rackup_package="ruby-rackup"
# Debian 13 has these two no longer; Debian 12's are pure Ruby and fit (see from_bookworm).
left_out_of_trixie="ruby-sprockets-rails ruby-actionpack-page-caching"

# Debian with its own Ruby. Somebody's rbenv or asdf comes first in PATH and has its own gems: that is "another system".
on_debian() {
  [ -e /etc/debian_version ] && command -v apt-get >/dev/null || return 1
  case $(command -v ruby || echo /usr/bin/ruby) in /usr/bin/ruby | /bin/ruby) ;; *) return 1 ;; esac
}

debian_release() { sed -n 's/^VERSION_ID="\{0,1\}\([0-9]*\).*/\1/p' /etc/os-release; }

installed() {
  case $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) in installed) ;; *) return 1 ;; esac
}

missing_of() {
  for package in "$@"; do installed "$package" || printf '%s ' "$package"; done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 "$@" </dev/null
}

# The archive this machine uses.
debian_mirror() {
  apt-get indextargets --format '$(REPO_URI)' | grep -E '/debian/?$' | head -n 1
}

# Installs Debian 12's packages of that name on a later Debian. apt fetches and verifies them with a configuration and lists of
# its own, so the machine's sources stay as they are.
from_bookworm() {
  bookworm=$(mktemp -d)
  mkdir -p "$bookworm/lists/partial" "$bookworm/cache/archives/partial"
  echo "deb $(debian_mirror) bookworm main" >"$bookworm/sources.list"
  (
    set -e
    cd "$bookworm"
    set_apart="-o Dir::Etc::SourceList=$bookworm/sources.list -o Dir::Etc::SourceParts=/dev/null
               -o Dir::State::Lists=$bookworm/lists -o Dir::Cache=$bookworm/cache -o APT::Sandbox::User=root"
    as_root apt-get -q $set_apart update
    as_root apt-get -q $set_apart download "$@"
    apt install --no-install-recommends ./*.deb
  )
  bookworm_status=$?
  as_root rm -rf "$bookworm"
  return "$bookworm_status"
}

# without_starting_services COMMAND…: packages of servers start them when they are installed; the specs start their own, on ports of
# their own. Debian's way to say so is a program that is asked, if it is there.
without_starting_services() {
  policy=/usr/sbin/policy-rc.d
  if [ -e "$policy" ]; then
    "$@"
    return
  fi
  ( # so that it is gone again however this ends
    trap 'as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy" && "$@"
  )
}

# install_packages NAME…: asks apt only for what is missing.
install_packages() {
  wanted=$*
  [ "$(debian_release)" = 12 ] || wanted="$wanted $rackup_package"
  missing=$(missing_of $wanted)
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    fail "these packages are missing, and there is no sudo to install them with: $missing– run as root: apt-get install $missing"

  old=''
  if [ "$(debian_release)" != 12 ]; then
    for package in $left_out_of_trixie; do
      case " $missing" in *" $package "*) old="$old $package" ;; esac
    done
    for package in $old; do
      missing=$(printf ' %s' "$missing" | sed "s/ $package / /")
    done
  fi

  [ "$(id -u)" = 0 ] || sudo -v || fail "sudo refused; install these packages yourself: $missing$old"
  step "Updating the list of packages" apt update || exit 1
  if [ -n "$(printf '%s' "$missing" | tr -d ' ')" ]; then
    without_starting_services step "Installing$(printf ' %s' $missing)" apt install --no-install-recommends $missing || exit 1
  fi
  if [ -n "$old" ]; then
    step "Installing$old (Debian 12's)" from_bookworm $old || exit 1
  fi
}

# What to install where there is no apt, or where Ruby is not Debian's.
name_requirements() {
  absent=''
  for command in git make ruby bundle; do command -v "$command" >/dev/null || absent="$absent $command"; done
  command -v cc >/dev/null || command -v gcc >/dev/null || absent="$absent cc"
  [ -z "$absent" ] || fail "not found:$absent. Needed are git, make, a C compiler, Ruby 3.1 or newer with its headers, and Bundler."
}
