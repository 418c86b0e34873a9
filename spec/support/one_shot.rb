# frozen_string_literal: true

module Harness
  # Commands that are expected to end by themselves.
  module OneShot
    Result = Struct.new(:status, :out, :err, keyword_init: true) do
      def to_s
        "exit #{status.exitstatus || status}\n--- stdout\n#{out}--- stderr\n#{err}"
      end
    end

    def run_command(argv, directory:, environment: {}, within: 30, input: "")
      files = Suite.new_directory("command")
      out, err = %w[out err].map { |name| File.join(files, name) }
      File.write(stdin = File.join(files, "in"), input)
      pid = Process.spawn(Suite.environment({ "PWD" => directory, **environment }), *argv.map(&:to_s), chdir: directory, pgroup: true,
                                                                             in: stdin, out: out, err: err, unsetenv_others: true)
      waiter = Process.detach(pid)
      unless waiter.join(Deadline.new(within).left)
        Process.kill(:KILL, -pid)
        waiter.join
        raise DeadlineExceeded, "#{argv.join(" ")} did not end within #{within} s:\n#{File.read(out)}#{File.read(err)}"
      end
      Result.new(status: waiter.value, out: File.read(out), err: File.read(err))
    end
  end
end

RSpec.configure { |config| config.include Harness::OneShot }

# A command that has failed in the way a person can use: exit code 1 and one line on standard error.
RSpec::Matchers.define :be_one_line_error do
  chain(:naming) { |text| (@texts ||= []) << text }

  match do |result|
    result.status.exitstatus == 1 && result.err.lines.size == 1 && (@texts || []).all? { |text| result.err.match?(Regexp.union(text)) }
  end

  failure_message do |result|
    "expected exit code 1 and one line on standard error#{" with #{@texts.join(" and ")}" if @texts}, got #{result}"
  end
end
