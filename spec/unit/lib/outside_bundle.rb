# frozen_string_literal: true

# The environment of a child process that is to know nothing of the bundle in which the specs run.
OUTSIDE_BUNDLE = %w[RUBYOPT RUBYLIB BUNDLE_GEMFILE BUNDLE_BIN_PATH BUNDLER_VERSION BUNDLER_SETUP].to_h { |name| [name, nil] }.freeze
