# frozen_string_literal: true

require "json"
require "rspec"

%w[deadline proc_fs suite http_client server peers apps serving].each { |file| require_relative "support/#{file}" }

RSpec.configure do |config|
  config.disable_monkey_patching!
  config.expect_with(:rspec) { |expectations| expectations.syntax = :expect }
  config.mock_with(:rspec) { |mocks| mocks.verify_partial_doubles = true }
  config.order = :random
  Kernel.srand(config.seed)
  config.filter_run_when_matching :focus
  config.example_status_persistence_file_path = File.join(Harness::ROOT, "tmp", "spec-status.txt")

  config.before(:suite) { Harness::Suite.start }

  # The output of every command that was running while an example failed is kept.
  config.after do |example|
    next unless example.exception

    Harness::Command.running.each do |command|
      kept = Harness::Suite.keep(command.output_path, name: "#{example.id.gsub(/[^\w]+/, "-")}-#{command.name}.log")
      warn "\noutput of #{command.name} during the failed example: #{kept}"
    end
  end

  config.after(:suite) do
    left = Harness::Suite.leftovers
    Harness::Suite.sweep
    raise "the suite left behind:\n  #{left.join("\n  ")}" if left.any?
  end
end
