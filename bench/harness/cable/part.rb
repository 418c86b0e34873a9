# frozen_string_literal: true

module Bench
  module Cable
    # What the parts of the contest share: how they start servers and what they count.
    class Part
      attr_reader :commands, :faults

      def initialize(definitions, setup, session, program, labels)
        @definitions = definitions
        @setup = setup
        @session = session
        @program = program
        @labels = labels
        @commands = {}
        @faults = []
      end

      private

      def start(definition, app, processes:, threads:)
        setup = @setup.dup
        setup.processes = processes
        setup.threads = threads
        @session.start(definition, app, setup).tap { |server| @commands[definition.key] ||= server.public_command }
      end

      def say(line)
        @session.say(line)
      end

      def fault(words)
        say "  !!! #{words}"
        @faults << "ERROR: #{words}"
      end

      # Resident bytes by role.
      def resident(server)
        server.processes.each_with_object(Hash.new(0)) do |entry, sums|
          role = server.definition.role(entry.title) or next
          sums[role] += ProcessTree.memory(entry.pid)&.rss.to_i
        end
      end

      # CPU seconds by role.
      def cpu(server)
        server.processes.each_with_object(Hash.new(0)) do |entry, sums|
          role = server.definition.role(entry.title) or next
          sums[role] += entry.cpu_seconds
        end
      end

      # The share of the machine that neither the server nor the harness with its client used while the block ran; that, and
      # what the block gave.
      def watched(server, client = nil)
        own = client ? client.cpu_seconds : 0
        before = Sample.of(server)
        result = yield
        after = Sample.of(server)
        rest = after.others_since(before) - (((client ? client.cpu_seconds : 0) - own) / ((after.wall - before.wall) * Etc.nprocessors))
        [[rest, 0].max, result]
      end

      # A verdict as the other contests write it.
      def verdict(met, words, goal)
        "#{met ? 'met   ' : 'MISSED'}  #{words} (goal #{goal})"
      end

      # What no server may do; `order` is that of the messages of a stream.
      def complain(who, tally, expected, order: true)
        { "#{tally[:lost]} messages lost" => tally[:lost], "#{tally[:repeated]} came twice" => tally[:repeated],
          "#{tally[:disordered]} out of order" => order ? tally[:disordered] : 0, "#{tally[:closed]} sockets closed by the server" => tally[:closed],
          "#{tally[:received]} of #{expected} received" => expected - tally[:received] }.each do |words, count|
          fault("#{who}: #{words}") unless count.zero?
        end
      end

      def kilobytes(bytes)
        "#{Units.digits(bytes / 1024.0)} KB"
      end
    end
  end
end
