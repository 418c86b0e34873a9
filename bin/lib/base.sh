# Shared by the scripts in bin/: where the project lies, how to speak, how to run a long step. POSIX sh.
# The script that reads this has set `project` to the top of the repository.

# What the caller's Bundler had chosen (`bundle exec bin/test`) must not decide which bundle is used here.
unset BUNDLE_GEMFILE RUBYOPT BUNDLER_SETUP BUNDLE_BIN_PATH BUNDLER_VERSION

logs=$project/tmp/logs

say() { printf '%s\n' "$*"; }
complain() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() { complain "$@"; exit 1; }

seconds() { date +%s; }

# Ends a process and everything it has started, leaves first. (Where there is no /proc, the process alone.)
end_tree() {
  for end_child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do end_tree "$end_child"; done
  kill "$1" 2>/dev/null || :
}

# step TEXT COMMAND…: runs the command with its output in a log, says every 20 seconds that it still runs, and shows the end of
# the log if it fails. Returns the command's status.
step() {
  step_text=$1; shift
  mkdir -p "$logs"
  step_log=$logs/$(printf '%s' "$step_text" | tr -cs 'A-Za-z0-9' '-' | cut -c1-60).log
  step_began=$(seconds) step_said=0 step_status=0
  printf '%s … ' "$step_text"

  # A shell without job control starts background commands deaf to Ctrl-C; it is passed on by hand.
  "$@" >"$step_log" 2>&1 &
  step_pid=$!
  trap 'end_tree "$step_pid"; exit 130' INT
  trap 'end_tree "$step_pid"; exit 143' TERM
  while kill -0 "$step_pid" 2>/dev/null; do
    sleep 0.2
    step_took=$(($(seconds) - step_began))
    if [ $((step_took / 20)) -gt "$step_said" ]; then
      step_said=$((step_took / 20))
      printf '%s s … ' "$step_took"
    fi
  done
  wait "$step_pid" || step_status=$?
  trap - INT TERM

  if [ "$step_status" = 0 ]; then
    say "done ($(($(seconds) - step_began)) s)"
  else
    say "failed"
    tail -n 40 "$step_log" | sed 's/^/  | /' >&2
    complain "\"$step_text\" ended with status $step_status; the whole output is in $step_log"
  fi
  return "$step_status"
}
