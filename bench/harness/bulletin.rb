# frozen_string_literal: true

require "fileutils"

module Bench
  # The example app's index page: a session, a query with its associations, partials, a layout with digested assets.
  class Bulletin < App
    DIRECTORY = File.join(ROOT, "examples/bulletin")
    OWN_GEM = /^gem "passenger".*\n/.freeze

    def initialize(environment)
      super("bulletin", root: DIRECTORY, startup_file: File.join(DIRECTORY, "config.ru"), text: "What is on in the neighbourhood")
      @environment = environment
    end

    # A database and a Gemfile of the run's own, in `dir`. Peers are run without this project's gem in the bundle: it defines
    # the same constants as the original Passenger.
    def prepare(dir, ruby)
      @dir = dir
      gemfile = File.read(File.join(DIRECTORY, "Gemfile"))
      raise Error, "#{DIRECTORY}/Gemfile has no line `gem \"passenger\" …` to leave out for the peers" unless gemfile.match?(OWN_GEM)

      File.write(peer_gemfile, gemfile.sub(OWN_GEM, ""))
      tasks = %w[db:prepare db:seed]
      tasks << "assets:precompile" if @environment == "production"
      Shell.read(ruby, "bin/rails", *tasks, env: peer_env, chdir: DIRECTORY)
    end

    # Each request is logged at level info; at warn the disk has no part in what is measured.
    def env
      { "RAILS_ENV" => @environment, "RACK_ENV" => @environment, "DATABASE_URL" => "sqlite3:#{File.join(@dir, 'bulletin.sqlite3')}",
        "SECRET_KEY_BASE" => "0123456789abcdef" * 8, "RAILS_LOG_LEVEL" => "warn" }
    end

    def peer_env
      env.merge("BUNDLE_GEMFILE" => peer_gemfile)
    end

    private

    def peer_gemfile
      File.join(@dir, "Gemfile")
    end
  end
end
