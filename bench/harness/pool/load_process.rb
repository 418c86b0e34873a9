# frozen_string_literal: true

require "json"
require_relative "../clock"
require_relative "connection"
require_relative "tally"

module Bench
  module Pool
    # Clients of a server, each a connection of its own, in a process of their own: what the harness does meanwhile must not make
    # them late. One thread waits for all connections.
    #
    # Standard input: one line of JSON (host, port, seconds, timeout, groups), then nothing; its end is the end of the load, if that
    # has not come yet. A group: name, connections, path, interval, delay, runs. Standard output: "started", later the tallies.
    class LoadProcess
      def run
        order = JSON.parse($stdin.gets, symbolize_names: true)
        @began = Clock.now
        @finish = order[:seconds] && (@began + order[:seconds])
        prepare(order)
        tell("started")
        work until over?
        @connections.each(&:close)
        tell(JSON.generate(@tallies.transform_values(&:to_h)))
      end

      private

      def prepare(order)
        address = Socket.sockaddr_in(order.fetch(:port), order.fetch(:host))
        @tallies = {}
        @connections = order.fetch(:groups).flat_map do |group|
          tally = @tallies[group.fetch(:name)] = Tally.new(@began, runs: group[:runs])
          request = "GET #{group.fetch(:path)} HTTP/1.1\r\nHost: #{order.fetch(:host)}\r\n\r\n"
          interval = group.fetch(:interval, 0)
          Array.new(group.fetch(:connections)) do |index|
            # Those with an interval are spread over it: they are to be many clients, not a crowd.
            first = @began + group.fetch(:delay, 0) + (interval * index / group.fetch(:connections))
            Connection.new(address, request, tally, first: first, interval: interval, timeout: order.fetch(:timeout))
          end
        end
      end

      def over?
        @stopping ||= @finish && Clock.now >= @finish
        @stopping && @connections.none?(&:busy?)
      end

      def work
        now = Clock.now
        @connections.each { |connection| connection.start(now) if connection.due <= now && !connection.busy? } unless @stopping
        busy, resting = @connections.partition(&:busy?)
        readable, writable = wait(busy, resting, now)
        now = Clock.now
        writable.each { |connection| connection.connected(now) }
        readable.each { |connection| connection == $stdin ? hear : connection.readable(Clock.now) }
        busy.each { |connection| connection.overdue(now) if connection.busy? && connection.deadline <= now }
      end

      def wait(busy, resting, now)
        connecting, waiting = busy.partition { |connection| connection.state == :connecting }
        moments = busy.map(&:deadline)
        moments.concat(resting.map(&:due)).push(*@finish) unless @stopping
        pause = moments.empty? ? nil : [moments.min - now, 0].max
        IO.select(@deaf ? waiting : [$stdin, *waiting], connecting, nil, pause) || [[], []]
      end

      # The end of the input: no new requests; those on their way are waited for.
      def hear
        $stdin.readpartial(4096)
      rescue EOFError
        @stopping = @deaf = true
      end

      def tell(line)
        $stdout.puts(line)
        $stdout.flush
      end
    end
  end
end

Bench::Pool::LoadProcess.new.run if $PROGRAM_NAME == __FILE__
