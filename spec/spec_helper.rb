# frozen_string_literal: true

# The specs of what runs inside one process are in spec/unit. The others start the real command (bundle exec passenger start,
# rails server, rackup) and look at it from outside: over sockets, through /proc, and at what it leaves behind.
#
#   --tag ~browser           without those that need Chromium
#   --tag ~slow              without the bodies of a gigabyte
#   SPEC_SERVER=puma         another server in place of ours, to tell a mistake of a spec from one of the server
#   SPEC_DEADLINE_FACTOR=3   more patience, for a slow or busy machine
#   SPEC_FAILURES=DIR        where the logs of failed examples go (tmp/spec-failures)

require "json"
require "rspec"
require "uri"

%w[deadline proc_fs suite http_client server service postgresql redis peers apps connected_app serving gates load one_shot admin bulletin visitor web_socket terminal browser cable stand_in_broker]
  .each { |file| require_relative "support/#{file}" }

RSpec.configure do |config|
  config.disable_monkey_patching!
  config.expect_with(:rspec) { |expectations| expectations.syntax = :expect }
  config.mock_with(:rspec) { |mocks| mocks.verify_partial_doubles = true }
  config.order = :random
  Kernel.srand(config.seed)
  config.filter_run_when_matching :focus
  config.example_status_persistence_file_path = File.join(Harness::ROOT, "tmp", "spec-status.txt")

  config.before(:suite) { Harness::Suite.start }

  # The logs of every command that was running while an example failed are kept.
  config.after do |example|
    next unless example.exception

    Harness::Command.running.each do |command|
      command.output_paths.select { |path| File.size?(path) }.each do |path|
        name = "#{example.full_description[0, 80].gsub(/[^\w]+/, "-")}.#{command.name}-#{File.basename(path)}"
        Harness::Suite.keep(path, name: name)
      end
    end
  end

  config.after(:suite) do
    kept = Harness::Suite.kept
    puts "\n\nLogs of the failed examples, in #{Harness::Suite::FAILURES}:\n  #{kept.join("\n  ")}" if kept.any?
    left = Harness::Suite.leftovers
    Harness::Suite.sweep
    raise "the suite left behind:\n  #{left.join("\n  ")}" if left.any?
  end
end
