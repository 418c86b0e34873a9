# frozen_string_literal: true

require "open3"

module Bench
  # Short commands whose output is wanted.
  module Shell
    # What Bundler and RubyGems set up for the harness is none of the servers' business.
    CLEAN = %w[RUBYOPT RUBYLIB GEM_HOME GEM_PATH BUNDLE_GEMFILE BUNDLE_BIN_PATH BUNDLER_VERSION BUNDLER_SETUP].to_h { |name| [name, nil] }.freeze

    module_function

    def read(*command, env: {}, chdir: ROOT)
      output, status = Open3.capture2e(CLEAN.merge(env), *command, chdir: chdir)
      raise Error, "`#{command.join(' ')}` failed (#{status}):\n#{output}" unless status.success?

      output
    rescue Errno::ENOENT => e
      raise Error, "can't run `#{command.first}`: #{e.message}"
    end
  end
end
