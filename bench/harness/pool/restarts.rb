# frozen_string_literal: true

module Bench
  module Pool
    # What clients notice of restarts, of a pool that grows and shrinks, and of processes that are replaced: nothing, if all is well.
    class Restarts < Part
      TITLE = "Restarts, scaling and recycling under load"
      ABOUT = "A request counts as failed when it gets another status than 200, half an answer or none, or no connection. A connection that the " \
              "server closes between two requests does not; those are counted apart."
      # Every so many restarts, the new code does not boot.
      BROKEN_EVERY = 4
      PROCESSES = 4
      THREADS = 2
      MAX_REQUESTS = 500
      # For a restart, and for a pool to grow or shrink, in seconds.
      PATIENCE = 120

      # A request every other second from each of the connections: one or two processes are enough for them.
      LIGHT = [Group.new(name: "light", connections: Steady::CONNECTIONS, path: "/compute?steps=2000", interval: 2)].freeze
      # A pool of so many has shrunk.
      SMALL = PROCESSES / 2
      # More than the whole pool can work on at once.
      BURST = [Group.new(name: "burst", connections: 4 * PROCESSES, path: "/wait?seconds=0.05")].freeze

      Row = Struct.new(:what, :done, :outcomes, :seconds, keyword_init: true)

      def run
        @rows = [rolling_restarts, scaling, recycling]
        self
      end

      def tables
        rows = @rows.map { |row| [row.what, row.done, Units.seconds(row.seconds), *Steady.cells(row.outcomes.values)] }
        Table.new(["under a load of #{Steady::CONNECTIONS} connections", "what happened", "duration", *Steady::COLUMNS], rows, text: 2).to_s
      end

      def verdicts
        @rows.map do |row|
          all = Outcome.sum(row.outcomes.values)
          Verdict.new(all.failed.zero?, "#{row.what}: #{times(all.failed, 'failed request')} of #{all.answered + all.failed} (goal 0); #{row.done}")
        end
      end

      def panels
        []
      end

      private

      def observe(what, groups)
        began = Clock.now
        done = nil
        outcomes = Load.during(@server, groups) { done = yield }
        say "#{what}: #{done}; failed: #{Outcome.sum(outcomes.values).failures_in_words}"
        Steady.tell(@session, outcomes)
        Row.new(what: what, done: done, outcomes: outcomes, seconds: Clock.now - began)
      end

      # `processes` are there from the start; the options may allow for more.
      def serve(name, processes, *options)
        @site = prepared(Site.new(name, passenger_options: options))
        @server = start(Servers::Passenger, @site, processes: processes, threads: THREADS)
        @admin = Admin.new(@server)
        yield
      ensure
        @session.stop(@server) if @server
      end

      def rolling_restarts
        serve("rolling", PROCESSES, "--rolling-restarts") do
          observe("rolling restarts", Steady::GROUPS) do
            broken = (1..@setup.restarts).count do |number|
              number.modulo(BROKEN_EVERY).zero? ? restart_broken : restart
            end
            "#{@setup.restarts} restarts, #{broken} of them of code that does not boot"
          end
        end
      end

      # False: this was not a broken one.
      def restart
        old = @admin.status.fetch("workers").map { |worker| worker.fetch("pid") }
        @site.restart
        @admin.wait_for("#{PROCESSES} new application processes", seconds: PATIENCE) do |status|
          workers = status.fetch("workers")
          !status.fetch("restart").fetch("active") && @admin.ready(status).size == PROCESSES && workers.size == PROCESSES &&
            workers.none? { |worker| old.include?(worker.fetch("pid")) }
        end
        false
      end

      # The old code has to go on in the same processes.
      def restart_broken
        before = @admin.status
        old = @admin.ready(before).map { |worker| worker.fetch("pid") }.sort
        @site.break
        @site.restart
        @admin.wait_for("the error of code that does not boot", seconds: PATIENCE) do |status|
          !status.fetch("restart").fetch("active") && status["boot_error"] && status["boot_error"] != before["boot_error"]
        end
        @site.repair
        left = @admin.ready.map { |worker| worker.fetch("pid") }.sort
        raise Error, "the processes #{old.inspect} were to go on after a restart that failed; there are #{left.inspect}" unless left == old

        true
      end

      def scaling
        serve("scaling", 1, "--max-pool-size", PROCESSES.to_s, "--pool-idle-time", "1") do
          observe("pool that grows and shrinks", LIGHT) { grow_and_shrink }
        end
      end

      # The bursts are loads of their own, whose requests count as well.
      def grow_and_shrink
        largest = []
        smallest = []
        (1..@setup.cycles).each do
          grown = nil
          outcomes = Load.during(@server, BURST) { grown = @admin.wait_for("#{PROCESSES} processes", seconds: PATIENCE) { |status| @admin.ready(status).size == PROCESSES } }
          insist_on_none_failed(outcomes)
          largest << @admin.ready(grown).size
          smallest << @admin.ready(@admin.wait_for("a smaller pool", seconds: PATIENCE) { |status| @admin.ready(status).size <= SMALL }).size
        end
        "#{@setup.cycles} times to #{largest.min} processes and down to #{smallest.minmax.uniq.join('–')}"
      end

      def insist_on_none_failed(outcomes)
        all = Outcome.sum(outcomes.values)
        raise Error, "requests of a burst failed: #{all.failures_in_words}" if all.failed.positive?
      end

      def recycling
        serve("recycling", PROCESSES, "--max-requests", MAX_REQUESTS.to_s) do
          observe("max_requests #{MAX_REQUESTS}", Steady::GROUPS) do
            seen = @admin.ready.map { |worker| worker.fetch("pid") }
            finish = Clock.now + @setup.recycling
            until Clock.now > finish
              seen |= @admin.status.fetch("workers").map { |worker| worker.fetch("pid") }
              sleep 0.1
            end
            raise Error, "with --max-requests #{MAX_REQUESTS}, no process was replaced in #{@setup.recycling} s" if seen.size == PROCESSES

            "at least #{seen.size - PROCESSES} processes replaced"
          end
        end
      end
    end
  end
end
