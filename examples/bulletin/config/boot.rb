ENV["BUNDLE_GEMFILE"] ||= File.expand_path("../Gemfile", __dir__)

require "bundler/setup"

# Rails 6.1 uses Logger before anything has loaded it (newer versions of concurrent-ruby no longer do).
require "logger"
