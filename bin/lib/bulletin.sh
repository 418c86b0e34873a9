# Prepares the example application. Needs base.sh.

bulletin=$project/examples/bulletin

bulletin_rails() {
  (cd "$bulletin" && BUNDLE_GEMFILE=$bulletin/Gemfile bundle exec rails "$@")
}

# Database, sample notices and assets for the current RAILS_ENV; nothing to do if none of their sources is newer than the last time.
prepare_bulletin() {
  RAILS_ENV=${RAILS_ENV:-development}
  export RAILS_ENV
  prepared=$bulletin/tmp/prepared-$RAILS_ENV
  mkdir -p "$bulletin/tmp"
  # Caching is off in development by default; the demonstration shows the page cache too.
  [ "$RAILS_ENV" != development ] || touch "$bulletin/tmp/caching-dev.txt"

  if [ -z "${DATABASE_URL:-}" ] && [ -e "$prepared" ] && [ -e "$bulletin/db/$RAILS_ENV.sqlite3" ] && [ -d "$bulletin/public/assets" ] &&
     [ -z "$(find "$bulletin/app/assets" "$bulletin/config" "$bulletin/db/migrate" "$bulletin/db/schema.rb" "$bulletin/db/seeds.rb" \
                  "$bulletin/Gemfile.lock" -newer "$prepared" | head -n 1)" ]; then
    return 0
  fi
  step "Preparing the example application ($RAILS_ENV)" bulletin_rails db:prepare db:seed assets:precompile || exit 1
  touch "$prepared"
}
