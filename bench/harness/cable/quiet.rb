# frozen_string_literal: true

module Bench
  module Cable
    # Many WebSockets on which nothing happens.
    class Quiet < Part
      SOCKETS = 10_000
      # After the last has connected, and for how long the idle servers are watched, in seconds.
      SETTLE = 3
      WATCH = 20
      # Of the engine: bytes for each socket, and share of one processor.
      MEMORY = 12 * 1024
      CPU = 0.02
      # Descriptors that are not for sockets.
      SPARE = 200

      Reading = Struct.new(:server, :sockets, :seconds, :memory, :cpu, :echo, :others, keyword_init: true)

      attr_reader :readings

      def self.part_name
        "quiet"
      end

      # The engine needs two descriptors for a socket.
      def self.sockets(wanted, limit)
        [wanted, (limit - SPARE) / 2].min
      end

      def run
        @readings = @definitions.map { |definition| measure(definition) }
        self
      end

      def title
        "#{sockets} idle WebSockets"
      end

      def introduction
        limit = sockets < wanted ? " (not #{wanted}, because a process may have no more than #{descriptors} file descriptors here)" : ""
        "One process with one thread for requests and one for all WebSockets, without Action Cable#{limit}. Memory is what the processes have grown by, divided by the " \
          "number of sockets; CPU is what they used in #{watch} s in which nothing was sent. After that a message goes to and fro on each socket."
      end

      def tables
        rows = @readings.map do |r|
          [@labels.fetch(r.server), r.server == :passenger ? kilobytes(r.memory.fetch(:server)) : "–", kilobytes(r.memory.fetch(:worker)),
           *%i[server worker].map { |role| format("%.2f %%", r.cpu.fetch(role) * 100) }, Units.seconds(r.seconds), Units.seconds(r.echo)]
        end
        Table.new(["server", "engine per socket", "worker per socket", "CPU of engine or master", "of worker", "to connect all", "for all echoes"], rows).to_s
      end

      def details
        Noise.words(Spread.of(@readings.map(&:others)))
      end

      def verdicts
        ours = @readings.find { |reading| reading.server == :passenger } or return []
        [verdict(ours.memory.fetch(:server) <= MEMORY, "engine's memory for each of #{ours.sockets} idle sockets: #{kilobytes(ours.memory.fetch(:server))}",
                 "≤ #{kilobytes(MEMORY)}"),
         verdict(ours.cpu.fetch(:server) < CPU, format("engine's CPU meanwhile: %.2f %% of a core", ours.cpu.fetch(:server) * 100), "< #{Units.percent(CPU)}")]
      end

      def panels
        bars = @readings.map do |r|
          bytes = r.memory.fetch(:worker) + (r.server == :passenger ? r.memory.fetch(:server) : 0)
          Plot::Bar.new(label: @labels.fetch(r.server), spread: Spread.of([bytes / 1024.0]), text: kilobytes(bytes), ours: r.server == :passenger)
        end
        [Plot::Panel.new(title: "Memory per idle WebSocket, all processes", axis: "KB (shorter is better)", bars: bars)]
      end

      private

      def wanted
        @setup.quick ? 500 : SOCKETS
      end

      def sockets
        self.class.sockets(wanted, descriptors)
      end

      def descriptors
        Process.getrlimit(:NOFILE).last
      end

      def watch
        @setup.quick ? 2 : WATCH
      end

      def measure(definition)
        server = start(definition, SOCKETS_APP, processes: 1, threads: 1)
        wrk = Wrk.new(server.url, connections: 32, duration: 1).run # Connections' buffers and code that runs for the first time are no part of the growth.
        wrk.faults.each { |words| fault("quiet, #{server.key}: #{words}") }
        Client.open(@program, server) { |client| read(server, client) }.tap { |reading| report_on(reading) }
      ensure
        @session.stop(server) if server
      end

      def read(server, client)
        before = resident(server)
        connected = client.connect("/", sockets: sockets)
        sleep SETTLE
        memory = resident(server)
        others, cpu = watched(server, client) { idle_cpu(server) }
        Reading.new(server: server.key, sockets: sockets, seconds: connected.fetch(:seconds), cpu: cpu, echo: client.echo.fetch(:seconds), others: others,
                    memory: memory.to_h { |role, bytes| [role, (bytes - before[role]) / sockets.to_f] })
      end

      def idle_cpu(server)
        before = cpu(server)
        started = Clock.now
        sleep watch
        taken = Clock.now - started
        cpu(server).to_h { |role, seconds| [role, (seconds - before[role]) / taken] }
      end

      def report_on(reading)
        say "quiet, #{reading.server}: #{reading.sockets} sockets in #{Units.seconds(reading.seconds)}; server process #{kilobytes(reading.memory[:server])}, " \
            "worker #{kilobytes(reading.memory[:worker])} per socket; CPU #{format('%.2f', reading.cpu[:server] * 100)} % and " \
            "#{format('%.2f', reading.cpu[:worker] * 100)} %; others #{Units.percent(reading.others)}"
      end
    end
  end
end
