# frozen_string_literal: true

module Bench
  module Pool
    # What it saves to fork further processes from one that is warm, instead of from one that has only loaded the application.
    class Refork < Part
      TITLE = "Refork"
      ABOUT = "Processes that were forked from an application that had just been loaded, against processes forked from one that has " \
              "answered requests (`refork_after`). All have answered many requests when their proportional memory (PSS) is read."
      PROCESSES = 4
      # Requests of one process; by then all caches are full.
      AFTER = 150
      # All processes together get so many, twice.
      VISITS = 2 * PROCESSES * AFTER
      # Without a change of processes for so long, in seconds, the pool counts as reforked.
      CALM = 3
      PATIENCE = 120

      # The example app, with options or without.
      class Visited < Bulletin
        attr_reader :passenger_options

        def initialize(options)
          super("production")
          @passenger_options = PASSENGER_OPTIONS + options
        end
      end

      WARM = [Group.new(name: "cache", connections: PROCESSES * 2, path: "/")].freeze
      # An application, how it is made with options of the server, and the requests that warm it up.
      Case = Struct.new(:title, :groups, :make, keyword_init: true)
      CASES = [
        Case.new(title: "an app that fills a cache", groups: WARM, make: lambda { |options|
          Site.new(options.empty? ? "warm" : "warm-refork", passenger_options: options, program: File.join(App::APPS, "warm.ru"))
        }),
        Case.new(title: "example app", groups: Visits.groups(PROCESSES), make: ->(options) { Visited.new(options) })
      ].freeze

      Reading = Struct.new(:kase, :refork, :round, :workers, :all, keyword_init: true)

      def run
        @readings = []
        CASES.each do |kase|
          apps = { false => [], true => ["--refork-after", AFTER.to_s] }.transform_values { |options| prepared(kase.make.call(options)) }
          (1..memory_rounds).each do |round|
            [false, true].rotate(round - 1).each { |refork| @readings << measure(kase, apps.fetch(refork), refork, round) }
          end
        end
        self
      end

      def tables
        rows = CASES.product([false, true]).map do |kase, refork|
          own = readings(kase, refork)
          [kase.title, refork ? "after #{AFTER} requests" : "off", bytes(own.map(&:workers)), bytes(own.map(&:all)),
           refork ? Units.spread(ratio(kase)) { |value| Units.digits(value) } : "–"]
        end
        Table.new(["#{PROCESSES} processes, after many requests", "refork", "PSS of the application processes", "PSS of all processes",
                   "all, with ÷ without"], rows, text: 2).to_s
      end

      def verdicts
        CASES.map { |kase| Verdict.new(ratio(kase).median < 1, "#{kase.title}: with refork, total PSS is #{Units.ratio(ratio(kase).median)} that without (goal < 1)") }
      end

      def panels
        CASES.map do |kase|
          bars = [false, true].map do |refork|
            values = readings(kase, refork).map { |reading| reading.all / Units::MEBIBYTE }
            bar(refork ? "refork" : "without", values, Units.bytes(Spread.of(values).median * Units::MEBIBYTE), ours: refork)
          end
          Plot::Panel.new(title: "PSS of all processes, #{kase.title}", axis: "MB (shorter is better)", bars: bars)
        end
      end

      private

      def readings(kase, refork)
        @readings.select { |reading| reading.kase == kase && reading.refork == refork }.sort_by(&:round)
      end

      def ratio(kase)
        Spread.of_ratios(readings(kase, true).map(&:all), readings(kase, false).map(&:all))
      end

      # Loaded twice: so that the first processes become warm, and that those forked from a warm one have worked as well.
      def measure(kase, app, refork, round)
        server = start(Servers::Passenger, app, processes: PROCESSES, label: "#{kase.title}#{', refork' if refork}")
        first = pids(server)
        2.times do
          load(server, kase)
          calm(server)
        end
        insist_on_reforked(first - pids(server), server) if refork
        roles = Visits.pss_by_role(server)
        Reading.new(kase: kase, refork: refork, round: round, workers: roles.fetch(:worker), all: roles.values.sum).tap do |reading|
          say "round #{round}  #{kase.title}  #{refork ? 'refork ' : 'without'} PSS of workers #{Units.bytes(reading.workers)}, of all #{Units.bytes(reading.all)}"
        end
      ensure
        @session.stop(server) if server
      end

      def load(server, kase)
        admin = Admin.new(server)
        enough = admin.status.fetch("requests") + VISITS
        outcomes = Load.during(server, kase.groups) do
          admin.wait_for("#{VISITS} requests", seconds: PATIENCE) { |status| status.fetch("requests") >= enough }
        end
        all = Outcome.sum(outcomes.values)
        raise Error, "#{kase.title}: requests failed: #{all.failures_in_words}" if all.failed.positive?
      end

      def calm(server)
        since = Clock.now
        last = pids(server)
        Clock.wait_until(PATIENCE, every: 0.1) do
          now = pids(server)
          since = Clock.now if now != last || now.size != PROCESSES
          last = now
          Clock.now - since > CALM
        end or raise Error, "#{Servers::Passenger.label}: its application processes kept changing for #{PATIENCE} s\n#{server.log_tail}"
      end

      # The one that the others are forked from may not be among those that serve, but none of the rest may be of the first ones.
      def insist_on_reforked(gone, server)
        return if gone.size == PROCESSES

        raise Error, "--refork-after #{AFTER}: #{PROCESSES - gone.size} of the first processes still serve\n#{server.log_tail}"
      end

      def pids(server)
        server.workers.map(&:pid).sort
      end

      def bytes(values)
        Units.spread(Spread.of(values)) { |value| Units.bytes(value) }
      end
    end
  end
end
