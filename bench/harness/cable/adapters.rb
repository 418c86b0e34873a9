# frozen_string_literal: true

module Bench
  module Cable
    # Action Cable's adapter of this project beside that for Redis, between four processes of the same server.
    class Adapters < Part
      PROCESSES = 4
      SUBSCRIBERS = 500
      STREAMS = 100
      RATE = 1000
      SECONDS = 30
      # As fast as possible: broadcasts in each round, in requests of so many.
      FLOOD = 8000
      BATCH = 20
      PUBLISHERS = 4
      # Floods are short, and what else the machine does changes quickly.
      FLOODS_PER_ROUND = 3
      # Ours ÷ that of the adapter for Redis.
      THROUGHPUT = 1.0

      Steady = Struct.new(:adapter, :published, :tally, :cpu, :sockets, :others, keyword_init: true)
      Flood = Struct.new(:adapter, :round, :broadcasts_per_second, :deliveries_per_second, :cpu, :disordered, :others, keyword_init: true)

      attr_reader :steady, :floods

      def self.part_name
        "adapters"
      end

      # The only server is ours.
      def self.labels
        { adapter_passenger: "adapter passenger", adapter_redis: "adapter redis" }
      end

      def run
        @steady = []
        @floods = []
        redis = Redis.start(@session.dir)
        apps = { adapter_passenger: Application.new("passenger", channel_workers: 1),
                 adapter_redis: Application.new("redis", redis: redis.url, channel_workers: 1) }
        started = apps.transform_values { |app| start(Servers::Passenger, app, processes: PROCESSES, threads: 1) }
        clients = started.transform_values { |server| Client.new(@program, server) }
        measure(started, clients, redis)
        self
      ensure
        clients&.each_value(&:close)
        started&.each_value { |server| @session.stop(server) }
        redis&.stop
      end

      def title
        "Adapters between #{PROCESSES} processes"
      end

      def introduction
        "#{SUBSCRIBERS} sockets subscribed to #{STREAMS} streams, spread over #{PROCESSES} processes; #{RATE} broadcasts per second for #{seconds} s, each in a request of " \
          "its own, #{SUBSCRIBERS / STREAMS} deliveries each; then #{FLOOD} broadcasts as fast as they are taken, in requests of #{BATCH}. `config.action_cable.worker_pool_size` " \
          "is 1, because Action Cable's own threads may change the order otherwise. CPU is that of all processes, Redis included."
      end

      def tables
        rows = self.class.labels.map do |key, label|
          steady = @steady.find { |run| run.adapter == key }
          floods = @floods.select { |run| run.adapter == key }
          [label, steady.tally[:received], steady.tally[:lost], steady.tally[:disordered], *steady.tally.values_at(:p50, :p99).map { |t| Units.seconds(t) },
           Units.seconds(steady.cpu / steady.published), *%i[broadcasts_per_second deliveries_per_second].map { |value| count(floods.map(&value)) },
           Units.spread(Spread.of(floods.map(&:cpu))) { |value| Units.seconds(value) }, floods.sum(&:disordered)]
        end
        Table.new(["", "delivered", "lost", "out of order", "delivery p50", "p99", "CPU per broadcast", "flood: broadcasts/s", "deliveries/s",
                   "CPU per delivery", "out of order"],
                  rows).to_s
      end

      def details
        rows = @floods.map do |run|
          [run.round, self.class.labels.fetch(run.adapter), Units.count(run.broadcasts_per_second), Units.count(run.deliveries_per_second), Units.seconds(run.cpu), run.disordered, Units.percent(run.others)]
        end
        spreads = @steady.map { |run| "#{self.class.labels.fetch(run.adapter)}: #{run.sockets.join(', ')}" }
        "Sockets by process: #{spreads.join('; ')}.\n\n#{Table.new(['round', '', 'broadcasts/s', 'deliveries/s', 'CPU per delivery', 'out of order', 'others'], rows, text: 2)}"
      end

      def verdicts
        ours = @steady.find { |run| run.adapter == :adapter_passenger }
        whole = [*ours.tally.values_at(:lost, :disordered, :repeated)].all?(&:zero?)
        ratio = self.ratio
        [verdict(whole, "adapter passenger, #{ours.published} broadcasts: #{ours.tally[:lost]} lost, #{ours.tally[:disordered]} out of order", "none"),
         verdict(ratio.median >= THROUGHPUT, "adapter passenger, deliveries/s as fast as possible: #{Units.ratio(ratio.median)} the Redis adapter's",
                 "≥ #{THROUGHPUT}")]
      end

      def panels
        bars = self.class.labels.map do |key, label|
          spread = Spread.of(@floods.select { |run| run.adapter == key }.map(&:deliveries_per_second))
          Plot::Bar.new(label: label, spread: spread, text: Units.count(spread.median), ours: key == :adapter_passenger)
        end
        [Plot::Panel.new(title: "Adapters: messages delivered per second", axis: "deliveries/s (longer is better)", bars: bars)]
      end

      # Of deliveries per second, round by round.
      def ratio
        ours, theirs = %i[adapter_passenger adapter_redis].map do |key|
          @floods.select { |run| run.adapter == key }.sort_by(&:round).map(&:deliveries_per_second)
        end
        Spread.of_ratios(ours, theirs)
      end

      private

      # The adapter for Redis does not keep the order under load: that is no fault of the measurement.
      def ours?(key)
        key == :adapter_passenger
      end

      def seconds
        @setup.quick ? 3 : SECONDS
      end

      def measure(servers, clients, redis)
        clients.each_value { |client| client.connect(PATH, sockets: SUBSCRIBERS, streams: STREAMS, channel: CHANNEL) }
        servers.each { |key, server| @steady << steadily(key, server, clients.fetch(key), redis) }
        (1..(@setup.rounds * FLOODS_PER_ROUND)).each do |round|
          servers.keys.rotate(round - 1).each { |key| @floods << flood(key, round, servers.fetch(key), clients.fetch(key), redis) }
        end
      end

      def steadily(key, server, client, redis)
        count = RATE * seconds
        before = server.cpu_seconds + redis.cpu_seconds
        others, tally = watched(server, client) do
          client.publish(count: count, rate: RATE, connections: PUBLISHERS)
          client.report
        end
        cpu = server.cpu_seconds + redis.cpu_seconds - before
        complain("adapters, #{key}", tally, count * SUBSCRIBERS / STREAMS, order: ours?(key))
        run = Steady.new(adapter: key, published: count, tally: tally, cpu: cpu, others: others, sockets: server.workers.map { |worker| sockets_of(worker.pid) })
        say "adapters, #{key}: #{tally[:received]} deliveries, p50 #{Units.seconds(tally[:p50])} p99 #{Units.seconds(tally[:p99])}, sockets by process " \
            "#{run.sockets.join(', ')}; others #{Units.percent(others)}"
        run
      end

      def sockets_of(pid)
        Dir.children("/proc/#{pid}/fd").count { |fd| File.readlink("/proc/#{pid}/fd/#{fd}").start_with?("socket:") }
      rescue Errno::ENOENT
        retry # a descriptor was closed while the list was read
      end

      def flood(key, round, server, client, redis)
        published = nil
        before = server.cpu_seconds + redis.cpu_seconds
        others, tally = watched(server, client) do
          published = client.publish(count: FLOOD, batch: BATCH, connections: PUBLISHERS)
          client.report(within: 60)
        end
        cpu = server.cpu_seconds + redis.cpu_seconds - before
        complain("adapters, #{key}, round #{round}", tally, FLOOD * SUBSCRIBERS / STREAMS, order: ours?(key))
        run = Flood.new(adapter: key, round: round, broadcasts_per_second: FLOOD / published.fetch(:seconds),
                        deliveries_per_second: tally[:received] / (tally[:last] - published.fetch(:started)), disordered: tally[:disordered], others: others,
                        cpu: cpu / tally[:received])
        say "adapters, #{key}, round #{round}: #{Units.count(run.broadcasts_per_second)} broadcasts/s, #{Units.count(run.deliveries_per_second)} deliveries/s, CPU #{Units.seconds(run.cpu)} each; " \
            "others #{Units.percent(others)}"
        run
      end

      def count(values)
        Units.spread(Spread.of(values)) { |value| Units.count(value) }
      end
    end

    # A throwaway Redis server that keeps nothing.
    class Redis
      PROGRAM = "redis-server"

      def self.start(dir)
        new(dir).tap(&:start)
      end

      def initialize(dir)
        @port = Server.free_port
        command = [PROGRAM, "--bind", Server::HOST, "--port", @port.to_s, "--save", "", "--appendonly", "no", "--dir", dir]
        @keeper = Keeper.new(command, env: { "PATH" => ENV.fetch("PATH") }, chdir: dir, log: File.join(dir, "redis.log"))
      end

      def start
        @keeper.start
        Clock.wait_until(20) { answers? } or raise Error, "#{PROGRAM} did not start"
      end

      def url
        "redis://#{Server::HOST}:#{@port}/0"
      end

      def cpu_seconds
        @keeper.cpu_seconds
      end

      def stop
        @keeper.stop
      end

      private

      def answers?
        TCPSocket.open(Server::HOST, @port) do |socket|
          socket.write("PING\r\n")
          socket.gets == "+PONG\r\n"
        end
      rescue Errno::ECONNREFUSED
        false
      end
    end
  end
end
