# frozen_string_literal: true

module Bench
  module Pool
    # What it saves to load the application once and fork, instead of loading it in every process: memory, and the time that a
    # further process takes.
    class Memory < Part
      TITLE = "Smart against direct spawning"
      ABOUT = "The example app in production, smart: loaded once and forked, direct: loaded in every process. Proportional memory (PSS) before " \
              "and after requests for all kinds of pages, of everything that belongs to the server; one server at a time. Then processes are replaced one " \
              "after the other, and the server says when it asked for the next one and when that was ready. (The first requests fill the interpreter's inline caches, which lie all over the memory " \
              "that was shared until then. Processes forked from one that has done this keep sharing it: see refork.)"
      PROCESSES = 4
      METHODS = %w[smart direct].freeze
      GOAL = 0.55
      READY_GOAL = 0.15
      # Until whatever was put off to "later" has been done.
      SETTLE = 2
      # How many processes are replaced to see how long the next one takes.
      SPAWNS = 12

      # Before any request, but for the one that shows that the server is there, and after many.
      MOMENTS = ["after the start", "after requests"].freeze

      Reading = Struct.new(:method, :moment, :round, :roles, keyword_init: true) do
        def all
          roles.values.sum
        end
      end

      # The example app, spawned as said.
      class Spawned < Bulletin
        def initialize(method)
          super("production")
          @name = "bulletin-#{method}"
          @method = method
        end

        def passenger_options
          PASSENGER_OPTIONS + ["--spawn-method", @method]
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
        rows = MOMENTS.product(METHODS).map do |moment, method|
          own = readings(method, moment)
          [moment, method, *%i[worker preloader server].map { |role| bytes(own.map { |reading| reading.roles.fetch(role, 0) }) }, bytes(own.map(&:all)),
           method == "smart" ? Units.spread(ratio(moment)) { |value| Units.digits(value) } : "–"]
        end
        memory = Table.new(["PSS", "spawn_method", "#{PROCESSES} application processes", "preloader", "server", "**all**", "smart ÷ direct"], rows, text: 2)
        times = METHODS.map { |method| [method, @ready.fetch(method).size, Units.spread(Spread.of(@ready.fetch(method))) { |value| Units.seconds(value) }] }
        "#{memory}\n#{Table.new(['spawn_method', 'processes started', 'from the demand until ready'], times)}"
      end

      def verdicts
        ready = Spread.of(@ready.fetch("smart"))
        MOMENTS.map do |moment|
          measured = ratio(moment).median
          Verdict.new(measured <= GOAL, "total PSS of the example app with #{PROCESSES} processes #{moment}: smart #{Units.ratio(measured)} direct (goal ≤ #{GOAL})")
        end << Verdict.new(ready.median <= READY_GOAL, "a process is ready #{Units.seconds(ready.median)} after it was asked for, at most #{Units.seconds(ready.max)} " \
                                                       "(goal ≤ #{Units.seconds(READY_GOAL)})")
      end

      def panels
        MOMENTS.map do |moment|
          bars = METHODS.map do |method|
            values = readings(method, moment).map { |reading| reading.all / Units::MEBIBYTE }
            bar(method, values, Units.bytes(Spread.of(values).median * Units::MEBIBYTE), ours: method == "smart")
          end
          Plot::Panel.new(title: "PSS of all processes, example app, #{moment}", axis: "MB (shorter is better)", bars: bars)
        end
      end

      private

      def readings(method, moment)
        @readings.select { |reading| reading.method == method && reading.moment == moment }.sort_by(&:round)
      end

      def ratio(moment)
        Spread.of_ratios(*METHODS.map { |method| readings(method, moment).map(&:all) })
      end

      # One server at a time: two would share the pages of the interpreter's libraries.
      def measure(method, app, round)
        server = start(Servers::Passenger, app, processes: PROCESSES, label: "spawn_method #{method}")
        read(server, method, MOMENTS.first, round)
        visit(server)
        read(server, method, MOMENTS.last, round)
        time_spawns(server, method) if round == 1
      ensure
        @session.stop(server) if server
      end

      def read(server, method, moment, round)
        sleep SETTLE
        @readings << Reading.new(method: method, moment: moment, round: round, roles: Visits.pss_by_role(server))
        say "round #{round}  #{format('%-6s', method)} #{moment}: PSS #{Units.bytes(@readings.last.all)}"
      end

      def visit(server)
        all = Outcome.sum(Load.run(server, Visits.groups(PROCESSES), @setup.duration).values)
        raise Error, "visits to the example app failed: #{all.failures_in_words}" if all.failed.positive?
      end

      def time_spawns(server, method)
        admin = Admin.new(server)
        SPAWNS.times do
          before = admin.ready.map { |worker| worker.fetch("pid") }
          admin.detach(before.last)
          status = admin.wait_for("a new process in place of #{before.last}", seconds: 30) do |now|
            ready = admin.ready(now).map { |worker| worker.fetch("pid") }
            ready.size == PROCESSES && !ready.include?(before.last)
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
