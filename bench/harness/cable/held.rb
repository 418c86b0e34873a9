# frozen_string_literal: true

module Bench
  module Cable
    # One process that holds many sockets of Action Cable, while others ask it for pages and something is broadcast to all.
    class Held < Part
      SOCKETS = 2000
      BROADCASTS = 20
      RATE = 1.0 # broadcasts per second
      CONNECTIONS = 32
      THREADS = 5
      # Ours with sockets ÷ ours without; ours ÷ Puma's.
      THROUGHPUT = 0.9
      DELIVERY = 1.2

      Round = Struct.new(:server, :number, :without, :with, :during, :tally, :memory, :others, keyword_init: true) do
        # What is left of the requests per second while sockets are held.
        def kept
          with.requests_per_second / without.requests_per_second
        end
      end

      attr_reader :rounds

      def self.part_name
        "held"
      end

      def run
        @rounds = []
        app = Application.new("async", channel_workers: 1)
        servers = @definitions.map { |definition| start(definition, app, processes: 1, threads: THREADS) }
        servers.each { |server| wrk(server, @setup.warmup) }
        (1..@setup.rounds).each { |number| servers.rotate(number - 1).each { |server| @rounds << round(server, number) } }
        servers.each(&:check)
        self
      ensure
        servers&.each { |server| @session.stop(server) }
      end

      def title
        "#{sockets} sockets of Action Cable in one process"
      end

      def introduction
        "One process with #{THREADS} threads and the adapter `async`. It is asked for a small page over #{CONNECTIONS} connections: without sockets, with " \
          "#{sockets} subscribed ones that only get Action Cable's pings, and while #{BROADCASTS} messages are broadcast to all of them, #{Units.digits(RATE)} " \
          "per second. Delivery time runs from before `broadcast` until the client has read the message. `config.action_cable.worker_pool_size` is 1: with " \
          "more, Action Cable's own threads may change the order, on every server; the adapter's may, when one broadcast overtakes another."
      end

      def tables
        Table.new(["server", "requests/s without", "with sockets", "kept", "while broadcasting", "delivery p50", "delivery p99", "engine per socket",
                   "worker per socket"], @labels.map { |server, label| [label, *cells(server)] }).to_s
      end

      def details
        rows = @rounds.map do |r|
          [r.number, @labels.fetch(r.server), *[r.without, r.with, r.during].map { |load| Units.count(load.requests_per_second) }, Units.digits(r.kept),
           *r.tally.values_at(:p50, :p99, :max).map { |t| Units.seconds(t) }, r.tally[:received], r.tally[:lost], r.tally[:disordered],
           Units.percent(r.others)]
        end
        Table.new(["round", "server", "requests/s without", "with", "broadcasting", "kept", "p50", "p99", "max", "received", "lost", "disordered", "others"],
                  rows, text: 2).to_s
      end

      def verdicts
        kept = spread(:passenger, &:kept) or return []
        lines = [verdict(kept.median >= THROUGHPUT, "requests/s with #{sockets} sockets held: #{Units.ratio(kept.median)} those without", "≥ #{THROUGHPUT}")]
        tallies = of(:passenger).map(&:tally)
        whole = tallies.all? { |tally| tally[:received] == expected && tally[:lost].zero? && tally[:disordered].zero? }
        lines << verdict(whole, "#{tallies.sum { |t| t[:received] }} of #{expected * tallies.size} messages delivered, #{tallies.sum { |t| t[:disordered] }} " \
                                "out of order", "all, in order")
        delivery = ratio { |round| round.tally[:p99] }
        lines << verdict(delivery.median <= DELIVERY, "delivery p99: #{Units.ratio(delivery.median)} Puma's", "≤ #{DELIVERY}") if delivery
        lines
      end

      def panels
        [panel("Requests per second with #{sockets} sockets", "requests/s (longer is better)", Units.method(:count)) { |r| r.with.requests_per_second },
         panel("Delivery of a broadcast to #{sockets} sockets, p99", "milliseconds (shorter is better)", Units.method(:seconds), 1000) { |r| r.tally[:p99] }]
      end

      private

      def sockets
        @setup.quick ? 200 : SOCKETS
      end

      def expected
        sockets * BROADCASTS
      end

      def round(server, number)
        others, round = Client.open(@program, server) do |client|
          watched(server, client) { measure(server, number, client) }
        end
        round.others = others
        workers = server.workers.map(&:pid)
        left = Clock.wait_until(30) { workers.sum { |pid| Dir.children("/proc/#{pid}/fd").size } < sockets }
        raise Error, "#{server.key}: the process has not closed its sockets" unless left

        report_on(round)
        round
      end

      def measure(server, number, client)
        without = wrk(server, @setup.duration)
        before = resident(server)
        client.connect(PATH, sockets: sockets, channel: CHANNEL)
        sleep 1
        after = resident(server)
        with = wrk(server, @setup.duration)
        during, tally = broadcast(server, client)
        complain("held, #{server.key}, round #{number}", tally, expected, order: false) # which Rails does not promise; ours is judged
        [without, with, during].each { |load| load.faults.each { |words| fault("held, #{server.key}, round #{number}: #{words}") } }
        Round.new(server: server.key, number: number, without: without, with: with, during: during, tally: tally,
                  memory: after.to_h { |role, bytes| [role, (bytes - before[role]) / sockets.to_f] })
      end

      def broadcast(server, client)
        load = Thread.new { wrk(server, (BROADCASTS / RATE).ceil + 1) }
        load.report_on_exception = false
        client.publish(count: BROADCASTS, rate: RATE, connections: 1)
        tally = client.report
        [load.value, tally]
      end

      def wrk(server, seconds)
        Wrk.new(server.url, connections: CONNECTIONS, duration: seconds).run
      end

      def report_on(round)
        say format("held, round %<round>d  %<server>-10s %<without>s requests/s without sockets, %<with>s with (%<kept>s), %<during>s while broadcasting; " \
                   "delivery p50 %<p50>s p99 %<p99>s; others %<others>s",
                   round: round.number, server: round.server, without: Units.count(round.without.requests_per_second),
                   with: Units.count(round.with.requests_per_second), kept: Units.ratio(round.kept),
                   during: Units.count(round.during.requests_per_second), p50: Units.seconds(round.tally[:p50]),
                   p99: Units.seconds(round.tally[:p99]), others: Units.percent(round.others))
      end

      def of(server)
        @rounds.select { |round| round.server == server }
      end

      def spread(server, &value)
        rounds = of(server)
        Spread.of(rounds.map(&value)) if rounds.any?
      end

      def ratio(&value)
        ours, theirs = %i[passenger puma].map { |server| of(server).sort_by(&:number).map(&value) }
        Spread.of_ratios(ours, theirs) if ours.any? && theirs.any?
      end

      # Memory is that of the first round: later ones find what the first has left.
      def cells(server)
        count = ->(spread) { Units.spread(spread) { |value| Units.count(value) } }
        first = of(server).min_by(&:number).memory
        [count.call(spread(server) { |r| r.without.requests_per_second }), count.call(spread(server) { |r| r.with.requests_per_second }),
         Units.spread(spread(server, &:kept)) { |value| Units.digits(value) }, count.call(spread(server) { |r| r.during.requests_per_second }),
         *%i[p50 p99].map { |key| Units.spread(spread(server) { |r| r.tally[key] }) { |value| Units.seconds(value) } },
         server == :passenger ? kilobytes(first.fetch(:server)) : "–", kilobytes(first.fetch(:worker))]
      end

      def panel(title, axis, words, scale = 1, &value)
        bars = @labels.map do |server, label|
          spread = spread(server, &value)
          Plot::Bar.new(label: label, spread: spread.map { |number| number * scale }, text: words.call(spread.median), ours: server == :passenger)
        end
        Plot::Panel.new(title: title, axis: axis, bars: bars)
      end
    end
  end
end
