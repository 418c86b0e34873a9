# Clients in JavaScript that the specs run in Node, as spec/clients/package-lock.json names them. Needs base.sh.

clients=$project/tmp/clients

# Into a directory of its own, made anew when the list has changed; complete when the list is there, too.
install_clients() {
  ! cmp -s "$project/spec/clients/package-lock.json" "$clients/installed.json" || return 0
  if ! command -v npm >/dev/null; then
    say "npm is not installed: the specs with Action Cable's client in Node will be skipped."
    return 0
  fi
  step "Installing the JavaScript clients of the specs" fetch_clients || exit 1
}

fetch_clients() {
  rm -rf "$clients"
  mkdir -p "$clients"
  cp "$project/spec/clients/package.json" "$project/spec/clients/package-lock.json" "$project/spec/clients/.npmrc" "$clients/"
  (cd "$clients" && npm ci --ignore-scripts) && cp "$clients/package-lock.json" "$clients/installed.json"
}
