# frozen_string_literal: true

module Harness
  # An application as a deployment tool lays it out: releases/N, and `current`, a symbolic link to one of them. Each release
  # has a bundle of its own, with a gem that says which release it belongs to.
  class Releases
    CONFIG = <<~'RUBY'
      require "json"
      require "release_mark"
      require_relative "lib/place"
      LOADED = {
        "release" => ReleaseMark::NUMBER, "directory" => Place.directory, "pwd" => ENV["PWD"], "cwd" => Dir.pwd,
        "gemfile" => ENV["BUNDLE_GEMFILE"], "load_path" => $LOAD_PATH.grep(/release_mark/), "relative" => File.read("number")
      }.freeze
      run ->(_env) { [200, { "content-type" => "application/json" }, [JSON.generate(LOADED)]] }
    RUBY

    GEMSPEC = <<~RUBY
      Gem::Specification.new do |spec|
        spec.name = "release_mark"
        spec.version = "%<version>s"
        spec.summary = "Says which release it belongs to"
        spec.authors = ["the specs"]
        spec.files = ["lib/release_mark.rb"]
      end
    RUBY

    # As it comes out of version control: nothing is resolved on the machine where the application runs.
    LOCK = <<~LOCK
      PATH
        remote: %<project>s
        specs:
          passenger (%<passenger>s)
            rack (>= 2.2, < 4)

      PATH
        remote: vendor/release_mark
        specs:
          release_mark (%<version>s)

      GEM
        remote: https://rubygems.org/
        specs:
          rack (%<rack>s)

      PLATFORMS
        ruby

      DEPENDENCIES
        passenger!
        release_mark (= %<version>s)!
    LOCK

    attr_reader :root

    def initialize
      @root = File.realpath(Suite.new_directory("releases"))
      @count = 0
    end

    def current
      File.join(root, "current")
    end

    def path(number)
      File.join(root, "releases", number.to_s)
    end

    # Makes the next release and points `current` at it, the way tools do: by a rename. restart.txt of the new release is
    # touched last.
    def deploy
      number = @count += 1
      files(number).each { |name, text| Apps.write(path(number), name, text) }
      FileUtils.mkdir_p(File.join(path(number), "public"))
      link = "#{current}.new"
      File.symlink(path(number), link)
      File.rename(link, current)
      # All releases' files have times of their own, as they come from different deployments.
      Apps.write(path(number), "tmp/restart.txt", "").then { |file| FileUtils.touch(file, mtime: Time.now + number) }
    end

    def remove(number)
      FileUtils.rm_rf(path(number))
    end

    private

    def files(number)
      {
        "config.ru" => CONFIG,
        "number" => number.to_s,
        "lib/place.rb" => "module Place\n  def self.directory = __dir__\nend\n",
        "vendor/release_mark/release_mark.gemspec" => format(GEMSPEC, version: "#{number}.0"),
        "vendor/release_mark/lib/release_mark.rb" => "module ReleaseMark\n  NUMBER = #{number}\nend\n",
        "Gemfile.lock" => format(LOCK, project: ROOT, passenger: Gem::Specification.load(File.join(ROOT, "passenger.gemspec")).version,
                                       rack: Gem::Specification.find_by_name("rack").version, version: "#{number}.0"),
        "Gemfile" => <<~RUBY
          source "https://rubygems.org"
          gem "passenger", path: #{ROOT.inspect}
          gem "release_mark", "#{number}.0", path: "vendor/release_mark"
        RUBY
      }
    end
  end
end
