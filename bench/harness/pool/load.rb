# frozen_string_literal: true

require "json"
require "rbconfig"

module Bench
  module Pool
    # What became of the requests of one group, as the load process tells it.
    Outcome = Struct.new(:answered, :failures, :told, :closed, :long, :p50, :p99, :max, :runs, keyword_init: true) do
      def failed
        failures.values.sum
      end

      # "3 × status 502, 1 × before the response: closed", or "0".
      def failures_in_words
        failures.empty? ? "0" : failures.map { |kind, count| "#{count} × #{kind}" }.join(", ")
      end

      # Of several groups together. Quantiles can't be put together and are left out.
      def self.sum(outcomes)
        new(answered: outcomes.sum(&:answered), closed: outcomes.sum(&:closed), long: outcomes.sum(&:long),
            failures: outcomes.map(&:failures).reduce({}) { |all, more| all.merge(more) { |_, one, other| one + other } },
            told: outcomes.flat_map(&:told).sort, max: outcomes.filter_map(&:max).max)
      end
    end

    # A group of connections that all ask for the same.
    Group = Struct.new(:name, :connections, :path, :interval, :delay, :runs, keyword_init: true)

    # A load on one server, in the background (load_process.rb).
    class Load
      PROGRAM = File.expand_path("load_process.rb", __dir__)
      # Longer than anything that a healthy server does here: beyond it a request counts as failed.
      TIMEOUT = 15
      # What the load process may take to end beyond its duration and the time-out.
      GRACE = 15

      # While it runs.
      attr_reader :pid

      # Runs a load of so many seconds and returns the outcomes by name of the group.
      def self.run(server, groups, seconds)
        new(server, groups, seconds: seconds).tap(&:start).wait
      end

      # Loads the server as long as the block takes.
      def self.during(server, groups)
        load = new(server, groups).tap(&:start)
        begin
          yield load
        rescue StandardError, SignalException
          load.abandon
          raise
        end
        load.finish
      end

      # Without `seconds`: until `finish`.
      def initialize(server, groups, seconds: nil, timeout: TIMEOUT)
        @seconds = seconds
        @timeout = timeout
        @order = { host: server.launch.host, port: server.launch.port, seconds: seconds, timeout: timeout, groups: groups.map { |group| group.to_h.compact } }
      end

      def start
        input, @control = IO.pipe
        @report, output = IO.pipe
        @pid = Process.spawn(RbConfig.ruby, "--disable-gems", PROGRAM, in: input, out: output, pgroup: true)
        [input, output].each(&:close)
        @control.puts(JSON.generate(@order))
        raise Error, "the load generator did not start; what it said is above" unless listen(GRACE) == "started\n"
      rescue StandardError
        abandon
        raise
      end

      def finish
        @control.close
        @seconds = 0
        wait
      end

      def wait
        line = listen(@seconds + @timeout + GRACE) or raise Error, "the load generator did not end in time; what it said is above"
        JSON.parse(line, symbolize_names: true).transform_values { |tally| outcome(tally) }
      ensure
        abandon
      end

      # Ends it in any case.
      def abandon
        return unless @pid

        Process.kill(:KILL, @pid)
        Process.wait(@pid)
        @pid = nil
        [@control, @report].each { |io| io.close unless io.closed? }
      end

      private

      def outcome(tally)
        Outcome.new(**tally, failures: tally.fetch(:failures).transform_keys(&:to_s))
      end

      def listen(seconds)
        @report.gets if @report.wait_readable(seconds)
      end
    end
  end
end
