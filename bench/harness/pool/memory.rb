# frozen_string_literal: true

module Bench
  module Pool
    # What it saves to load the application once and fork, instead of loading it in every process: memory, and the time that a
    # further process takes.
    class Memory < Part
      TITLE = "Smart against direct spawning"
      ABOUT = "The example app in production, smart: loaded once and forked, direct: loaded in every process. Proportional memory (PSS) after " \
              "requests for all kinds of pages, of everything that belongs to the server; one server at a time. Then processes are killed one " \
              "after the other, and the server says when it asked for the next one and when that was ready."
      PROCESSES = 4
      METHODS = %w[smart direct].freeze
      GOAL = 0.55
      READY_GOAL = 0.15
      # After the requests, until whatever was put off to "later" has been done.
      SETTLE = 2
      # How often a process is killed to see how long the next one takes.
      SPAWNS = 12

      Reading = Struct.new(:method, :round, :roles, :all, keyword_init: true)
      # The example app, spawned as said.
      class Spawned < Bulletin
        def initialize(method)
          super("production")
          @name = "bulletin-#{method}"
          @method = method
        end

        def passenger_options
          ["--spawn-method", @method]
        end
      end

      def run
        @readings = []
        @ready = METHODS.to_h { |method| [method, []] }
        apps = METHODS.to_h { |method| [method, prepared(Spawned.new(method))] }
        (1..memory_rounds).each do |round|
          METHODS.rotate(round - 1).each { |method| measure(method, apps.fetch(method), round) }
        end
        self
      end

      def tables
        rows = METHODS.map do |method|
          own = @readings.select { |reading| reading.method == method }
          [method, *%i[worker preloader server].map { |role| bytes(own.map { |reading| reading.roles.fetch(role, 0) }) }, bytes(own.map(&:all)),
           Units.spread(Spread.of(@ready.fetch(method))) { |value| Units.seconds(value) }]
        end
        Table.new(["spawn_method", "PSS of #{PROCESSES} application processes", "preloader", "server", "**all**", "from the demand to ready"], rows).to_s
      end

      def verdicts
        ready = Spread.of(@ready.fetch("smart"))
        [Verdict.new(ratio.median <= GOAL, "total PSS of the example app with #{PROCESSES} processes: smart #{Units.ratio(ratio.median)} direct (goal ≤ #{GOAL})"),
         Verdict.new(ready.median <= READY_GOAL, "a process is ready #{Units.seconds(ready.median)} after it was asked for, at most #{Units.seconds(ready.max)} " \
                                                 "(goal ≤ #{Units.seconds(READY_GOAL)})")]
      end

      def panels
        bars = METHODS.map do |method|
          values = @readings.select { |reading| reading.method == method }.map { |reading| reading.all / Units::MEBIBYTE }
          bar(method, values, Units.bytes(Spread.of(values).median * Units::MEBIBYTE), ours: method == "smart")
        end
        [Plot::Panel.new(title: "PSS of all processes, example app, #{PROCESSES} workers", axis: "MB (shorter is better)", bars: bars)]
      end

      private

      def ratio
        smart, direct = METHODS.map { |method| @readings.select { |reading| reading.method == method }.sort_by(&:round).map(&:all) }
        Spread.of_ratios(smart, direct)
      end

      # One server at a time: two would share the pages of the interpreter's libraries.
      def measure(method, app, round)
        server = start(Servers::Passenger, app, processes: PROCESSES, label: "spawn_method #{method}")
        visit(server)
        sleep SETTLE
        roles = Visits.pss_by_role(server)
        @readings << Reading.new(method: method, round: round, roles: roles, all: roles.values.sum)
        time_spawns(server, method) if round == 1
        say "round #{round}  #{format('%-6s', method)} PSS #{Units.bytes(@readings.last.all)}"
      ensure
        @session.stop(server) if server
      end

      def visit(server)
        all = Outcome.sum(Load.run(server, Visits.groups(PROCESSES), @setup.duration).values)
        raise Error, "visits to the example app failed: #{all.failures_in_words}" if all.failed.positive?
      end

      def time_spawns(server, method)
        admin = Admin.new(server)
        SPAWNS.times do
          before = admin.ready.map { |worker| worker.fetch("pid") }
          Process.kill(:KILL, before.last)
          status = admin.wait_for("a new process in place of #{before.last}", seconds: 30) do |now|
            (admin.ready(now).map { |worker| worker.fetch("pid") } - before).any? && admin.ready(now).size == PROCESSES
          end
          fresh = admin.ready(status).reject { |worker| before.include?(worker.fetch("pid")) }
          @ready.fetch(method).concat(fresh.map { |worker| Visits.start_time(worker) })
        end
      end

      def bytes(values)
        Units.spread(Spread.of(values)) { |value| Units.bytes(value) }
      end
    end
  end
end
