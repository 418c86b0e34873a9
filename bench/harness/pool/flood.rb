# frozen_string_literal: true

require_relative "crowd"

module Bench
  module Pool
    # Clients that ask for something and hang up while they wait for their turn: whatever is done for them is done for nobody.
    class Flood < Part
      TITLE = "A flood of clients that hang up"
      ABOUT = "Both processes are held by requests. Then come clients that ask for something and hang up, half of them by FIN, half by RST; last one " \
              "that stays. The processes are set free, and the application has counted what it ran."
      PROCESSES = 2
      # How long such a client waits for an answer, in seconds.
      PATIENCE = 0.05
      # How long it may take until all processes are held, in seconds.
      HOLDING = 30
      # The line must not be what turns clients away.
      OPTIONS = %w[--max-request-queue-size 0].freeze
      # What the next client may have to wait for when the processes are free, in seconds.
      GOAL = 0.5

      Row = Struct.new(:server, :sent, :unconnected, :ran, :next_client, keyword_init: true)

      def run
        definitions = [Servers::Passenger, Servers::Puma].select { |definition| @setup.servers.include?(definition.key) }
        app = prepared(Site.new("flood", passenger_options: OPTIONS))
        @rows = definitions.map { |definition| flood(definition, app) }
        self
      end

      def tables
        rows = @rows.map { |row| [row.server, row.sent, row.unconnected, row.ran, row.next_client ? Units.seconds(row.next_client) : "no answer"] }
        Table.new(["#{PROCESSES} processes × 1 thread, both busy", "clients that hung up after #{Units.seconds(PATIENCE)}", "clients that got no connection",
                   "of their requests, the app ran", "the next client was served after"], rows).to_s
      end

      def verdicts
        row = @rows.find { |candidate| candidate.server == Servers::Passenger.label }
        [Verdict.new(row.sent == @setup.flood, "#{row.sent} of #{@setup.flood} clients of the flood were connected and sent their request"),
         Verdict.new(row.ran.zero?, "#{times(row.ran, 'request')} of #{row.sent} clients that had left #{row.ran == 1 ? 'was' : 'were'} run (goal 0)"),
         next_client_verdict(row.next_client)]
      end

      def panels
        []
      end

      private

      def flood(definition, app)
        server = start(definition, app, processes: PROCESSES, label: "#{definition.label}, flood")
        gate, held, counter = %w[gate held counter].map { |name| app.file("#{definition.key}-#{name}") }
        [held, counter].each { |file| File.write(file, "") }
        holders = hold(server, "/hold?gate=#{gate}&held=#{held}", held)
        crowd = Crowd.new(server, "/count?file=#{counter}", @setup.flood, PATIENCE).run
        sleep PATIENCE # The last ones have to be missed before their turn comes.
        waited = serve_next(server, gate, holders)
        Row.new(server: definition.label, sent: crowd.sent, unconnected: crowd.unconnected, ran: File.size(counter), next_client: waited).tap do |row|
          say "flood  #{definition.key}: #{row.sent} sent, #{row.unconnected} without a connection, #{row.ran} run, next client after " \
              "#{waited ? Units.seconds(waited) : 'the time-out'}"
        end
      ensure
        @session.stop(server) if server
      end

      # More and more requests, since Puma may give all of them to one process, until all processes are held.
      def hold(server, path, held)
        holders = []
        Clock.wait_until(HOLDING, every: 0.2) do
          holders << holder(server, path) if holders.size < PROCESSES || Clock.wait_until(1) { File.size(held) == PROCESSES }.nil?
          File.size(held) == PROCESSES
        end or raise Error, "#{server.key}: #{holders.size} requests that last held #{File.size(held)} of #{PROCESSES} processes"
        holders
      end

      # A request that holds a process until the gate is there.
      def holder(server, path)
        Thread.new { server.ask(path).code }.tap { |thread| thread.report_on_exception = false }
      end

      # The next client joins the line before the processes become free; what counts is how long it waits from then on. nil: too long.
      def serve_next(server, gate, holders)
        following = Thread.new { next_client(server) }
        sleep 0.2
        opened = Clock.now
        File.write(gate, "")
        codes = holders.map(&:value)
        raise Error, "the requests that held the processes were answered with #{codes.join(', ')}" unless codes.all?("200")

        code, at = following.value
        raise Error, "the next client was answered with #{code}" unless code.nil? || code == "200"

        code && (at - opened)
      end

      def next_client_verdict(waited)
        return Verdict.new(false, "the next client got no answer (goal ≤ #{GOAL} s)") unless waited

        Verdict.new(waited <= GOAL, "the next client was served #{Units.seconds(waited)} after the processes were free (goal ≤ #{GOAL} s)")
      end

      def next_client(server)
        [server.ask("/compute?steps=1").code, Clock.now]
      rescue Net::OpenTimeout, Net::ReadTimeout
        nil
      end
    end
  end
end
