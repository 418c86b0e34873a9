# frozen_string_literal: true

module Bench
  module Pool
    # Whether fast requests wait for a slow one that has nothing to do with them. The same clients, on keep-alive connections, use two
    # processes of which a slow request holds one, and in turn a single process that is free: the one that is held must not be felt.
    class Affinity < Part
      TITLE = "Fast requests beside a slow one"
      ABOUT = "8 clients on keep-alive connections, each sending a request that computes for a fraction of a millisecond as soon as the last one is " \
              "answered, while one more client keeps a process busy with slow requests; against the same clients with a single process, free. " \
              "(With threads, 8 requests are more than the free process has threads: some go to those that the held process has to spare, and wait " \
              "for Ruby's lock there.)"
      CONNECTIONS = 8
      # How long the slow request takes, in seconds, and the steps of a fast one (pool.ru).
      SLOW = 3
      STEPS = 10_000
      GOAL = 1.5
      # The connections of the fast requests are there when the slow one comes: a server that ties a connection to the process that has
      # accepted it can't know yet which process that had better not be.
      LATER = 0.3

      # `slow`: the path of the request that holds a process. `burner`: it does so by computing, so that a processor is gone as well;
      # beside the free process another program computes then, since what is compared is the pool and not the machine.
      Scene = Struct.new(:name, :title, :threads, :slow, :burner, keyword_init: true)
      SCENES = [
        Scene.new(name: "2 × 1", title: "2 processes × 1 thread, one held by a request that waits #{SLOW} s", threads: 1, slow: "/wait?seconds=#{SLOW}"),
        Scene.new(name: "2 × 3", title: "2 processes × 3 threads, one held by a request that computes for #{SLOW} s", threads: 3,
                  slow: "/spin?seconds=#{SLOW}", burner: true)
      ].freeze

      # One client whose requests keep one process computing all the time, and two with a short request now and then, for which the other
      # process is idle: none of these needs to go where the long one is.
      LONG_STEPS = 500 * STEPS
      SHORT = 2
      SHORT_STEPS = 5 * STEPS
      SHORT_INTERVAL = 0.05

      Row = Struct.new(:scene, :server, :held, :round, :outcome, keyword_init: true)
      Mix = Struct.new(:server, :round, :short, :shared, keyword_init: true)

      def run
        @rows = []
        @mixes = []
        @definitions = [Servers::Passenger, Servers::Puma].select { |definition| @setup.servers.include?(definition.key) }
        SCENES.each { |scene| run_scene(scene) }
        run_mix
        self
      end

      def tables
        [*SCENES.map { |scene| "**#{scene.title}**\n\n#{scene_table(scene)}" }, mix_text].join("\n")
      end

      def verdicts
        SCENES.flat_map { |scene| scene_verdicts(scene) } << mix_verdict
      end

      def panels
        SCENES.map do |scene|
          bars = @definitions.flat_map do |definition|
            [true, false].map do |held|
              values = p99s(scene, definition, held).map { |seconds| seconds * 1e3 }
              bar("#{definition.label}, #{held ? 'one of 2 held' : '1, free'}", values, Units.seconds(Spread.of(values).median / 1e3),
                  ours: definition.key == :passenger)
            end
          end
          Plot::Panel.new(title: "p99 of fast requests, #{scene.name}", axis: "milliseconds (shorter is better)", bars: bars)
        end
      end

      private

      def run_scene(scene)
        app = prepared(Site.new("affinity-#{scene.threads}"))
        servers = @definitions.product([true, false]).map do |definition, held|
          processes = held ? 2 : 1
          [start(definition, app, processes: processes, threads: scene.threads, label: "#{definition.label}, #{processes} × #{scene.threads}"), held]
        end
        servers.each { |server, _| Load.run(server, [fast], @setup.warmup) }
        (1..@setup.rounds).each do |round|
          servers.rotate(round - 1).each { |server, held| @rows << measure(scene, server, held, round) }
        end
        servers.each { |server, _| @session.stop(server) }
      end

      def measure(scene, server, held, round)
        groups = [fast]
        groups << Group.new(name: "slow", connections: 1, path: scene.slow, delay: LATER) if held
        outcomes = beside_burner(scene.burner && !held) { Load.run(server, groups, @setup.duration) }
        raise Error, "#{server.key}: no slow request was answered: #{outcomes[:slow].failures_in_words}" if held && outcomes[:slow].answered.zero?

        Row.new(scene: scene, server: server.key, held: held, round: round, outcome: outcomes.fetch(:fast)).tap { |row| tell(row) }
      end

      def fast
        Group.new(name: "fast", connections: CONNECTIONS, path: "/compute?steps=#{STEPS}")
      end

      def tell(row)
        outcome = row.outcome
        say format("round %<round>d  %<scene>s  %<server>-10s %<held>-5s p50 %<p50>-8s p99 %<p99>-8s max %<max>-8s over 1 s: %<long>d, failed: %<failed>s",
                   round: row.round, scene: row.scene.name, server: row.server, held: row.held ? "held" : "free", p50: Units.seconds(outcome.p50),
                   p99: Units.seconds(outcome.p99), max: Units.seconds(outcome.max), long: outcome.long, failed: outcome.failures_in_words)
      end

      def beside_burner(wanted)
        pid = wanted && Process.spawn(@setup.ruby, "--disable-gems", "-e", "loop {}")
        yield
      ensure
        if pid
          Process.kill(:KILL, pid)
          Process.wait(pid)
        end
      end

      def run_mix
        app = prepared(Site.new("mix"))
        servers = @definitions.map { |definition| start(definition, app, processes: 2, threads: 3, label: "#{definition.label}, 2 × 3, mixed") }
        (1..@setup.rounds).each do |round|
          servers.rotate(round - 1).each { |server| @mixes << measure_mix(server, round) }
        end
        servers.each { |server| @session.stop(server) }
      end

      def measure_mix(server, round)
        outcomes = Load.run(server, mix, @setup.duration)
        runs = outcomes.values.flat_map(&:runs)
        Mix.new(server: server.key, round: round, short: outcomes.fetch(:short), shared: Sharing.count(runs, processes: 2)).tap do |taken|
          say format("round %<round>d  mixed  %<server>-10s short: p50 %<p50>-8s p99 %<p99>-8s  beside another one while a process was idle: %<shared>d of %<all>d",
                     round: round, server: server.key, p50: Units.seconds(taken.short.p50), p99: Units.seconds(taken.short.p99), shared: taken.shared, all: runs.size)
        end
      end

      def mix
        [Group.new(name: "short", connections: SHORT, path: "/compute?steps=#{SHORT_STEPS}", interval: SHORT_INTERVAL, runs: true),
         Group.new(name: "long", connections: 1, path: "/compute?steps=#{LONG_STEPS}", delay: LATER, runs: true)]
      end

      def rows(scene, definition, held)
        @rows.select { |row| row.scene == scene && row.server == definition.key && row.held == held }.sort_by(&:round)
      end

      def p99s(scene, definition, held)
        rows(scene, definition, held).map { |row| row.outcome.p99 }
      end

      def ratio(scene, definition)
        Spread.of_ratios(p99s(scene, definition, true), p99s(scene, definition, false))
      end

      def scene_table(scene)
        lines = @definitions.flat_map do |definition|
          [true, false].map do |held|
            outcomes = rows(scene, definition, held).map(&:outcome)
            [definition.label, held ? "2, one of them held" : "1, free", Units.count(Spread.of(outcomes.map(&:answered)).median / @setup.duration.to_f),
             seconds(outcomes.map(&:p50)), seconds(outcomes.map(&:p99)), Units.seconds(outcomes.map(&:max).max), outcomes.sum(&:long),
             outcomes.sum(&:failed), held ? Units.spread(ratio(scene, definition)) { |value| Units.digits(value) } : "–"]
          end
        end
        Table.new(["server", "processes", "fast requests/s", "p50", "p99", "longest", "longer than 1 s", "failed", "p99 held ÷ free"], lines, text: 2).to_s
      end

      def seconds(values)
        Units.spread(Spread.of(values)) { |value| Units.seconds(value) }
      end

      def mix_text
        lines = @definitions.map do |definition|
          own = mixes(definition)
          [definition.label, own.sum { |taken| taken.short.answered }, seconds(own.map { |taken| taken.short.p50 }), seconds(own.map { |taken| taken.short.p99 }),
           own.sum { |taken| taken.short.failed }, own.sum(&:shared)]
        end
        "**2 processes × 3 threads; one client's requests keep a process computing, #{SHORT} clients send a short one every #{(SHORT_INTERVAL * 1000).round} ms:** " \
          "how many requests came into a process that was at work while the other one was idle, #{Sharing::SETTLED / 1000} ms before and after\n\n" \
          "#{Table.new(['server', 'short requests', 'p50', 'p99', 'failed', 'beside another one'], lines)}"
      end

      def mixes(definition)
        @mixes.select { |taken| taken.server == definition.key }
      end

      def scene_verdicts(scene)
        ours = Servers::Passenger
        long = rows(scene, ours, true).sum { |row| row.outcome.long }
        measured = ratio(scene, ours)
        [Verdict.new(long.zero?, "#{scene.name}: #{times(long, 'fast request')} took longer than 1 s beside a slow one (goal 0)"),
         Verdict.new(measured.median <= GOAL, "#{scene.name}: p99 of fast requests #{Units.ratio(measured.median)} that on a free process (goal ≤ #{GOAL})")]
      end

      def mix_verdict
        own = mixes(Servers::Passenger)
        shared = own.sum(&:shared)
        Verdict.new(shared.zero?, "2 × 3: #{times(shared, 'request')} entered a process at work while the other was idle, " \
                                  "with #{own.sum { |taken| taken.short.answered }} short ones (goal 0)")
      end
    end
  end
end
