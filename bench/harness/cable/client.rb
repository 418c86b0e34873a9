# frozen_string_literal: true

require "json"

module Bench
  module Cable
    # The process that holds the sockets (bench/cable-load).
    class Client
      SOURCE = "./bench/cable-load"
      # Beyond the time that a command itself allows.
      GRACE = 60

      def self.build(dir)
        File.join(dir, "cable-load").tap { |program| Shell.read("go", "build", "-o", program, SOURCE) }
      end

      # With a block it is closed at the end of that.
      def self.open(program, server)
        client = new(program, server)
        begin
          yield client
        ensure
          client.close
        end
      end

      attr_reader :pid

      def initialize(program, server)
        @address = "#{Server::HOST}:#{server.launch.port}"
        input, @commands = IO.pipe
        @answers, output = IO.pipe
        @pid = Process.spawn(program, in: input, out: output)
        [input, output].each(&:close)
      end

      # Each subscribes to one of so many streams, in turn; without a channel they are plain WebSockets.
      def connect(path, sockets:, streams: 1, channel: nil, within: 60)
        ask("connect", { address: @address, path: path, sockets: sockets, streams: streams, channel: channel, connections: 16, within: within })
      end

      # count: broadcasts altogether, batch: in each request, rate: per second (0: as fast as they are answered)
      def publish(count:, rate: 0, batch: 1, connections: 4)
        ask("publish", { path: "/broadcast", count: count, rate: rate, batch: batch, connections: connections })
      end

      # What has come of that, when everything has, or `within` seconds later.
      def report(within: 30)
        ask("report", { within: within })
      end

      def echo(within: 60)
        ask("echo", { within: within })
      end

      def cpu_seconds
        entry = ProcessTree.find(@pid) or raise Error, "the process that holds the sockets has ended"
        entry.cpu_seconds
      end

      def close
        @commands.close
        return if Clock.wait_until(10) { Process.wait(@pid, Process::WNOHANG) }

        Process.kill(:KILL, @pid)
        Process.wait(@pid)
      ensure
        @answers.close
      end

      private

      def ask(command, fields)
        @commands.puts(JSON.generate({ do: command, **fields.compact }))
        line = @answers.gets if @answers.wait_readable(patience(fields))
        raise Error, "the process that holds the sockets did not answer to #{command} #{fields}" unless line

        answer = JSON.parse(line, symbolize_names: true)
        raise Error, "#{command}: #{answer[:error]}" if answer[:error]

        answer
      end

      def patience(fields)
        rate = fields[:rate].to_f
        GRACE + fields.fetch(:within, 0) + (rate.positive? ? fields.fetch(:count) / rate : GRACE)
      end
    end
  end
end
