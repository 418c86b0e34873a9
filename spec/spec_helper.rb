# frozen_string_literal: true

require "json"
require "rspec"
require "uri"

%w[deadline proc_fs suite http_client server peers apps serving gates load one_shot bulletin visitor terminal browser].each { |file| require_relative "support/#{file}" }

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
