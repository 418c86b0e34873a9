# frozen_string_literal: true

module Bench
  # Runs one contest: all servers are started, warmed up, and then measured in turn, round by round. The first of a round is
  # another one each time, so that no server always has the same neighbour in time.
  class SideBySide
    # Lets the connections of the last load die away before the next server's clock starts.
    PAUSE = 0.2

    attr_reader :results, :headers, :commands

    def initialize(contest, definitions, setup, session)
      @contest = contest
      @definitions = definitions
      @setup = setup
      @session = session
    end

    def connections
      @setup.connections || @contest.connections
    end

    def run
      @session.prepare(@contest.app, @setup.ruby)
      @servers = @definitions.map { |definition| @session.start(definition, @contest.app, @setup) }
      @headers = @servers.to_h { |server| [server.key, server.response_headers] }
      @commands = @servers.to_h { |server| [server.key, server.public_command] }
      @servers.each { |server| Wrk.new(server.url, connections: connections.max, duration: @setup.warmup).run }
      @results = Results.new((1..@setup.rounds).flat_map { |round| run_round(round) })
      @servers.each(&:check)
      self
    end

    private

    def run_round(round)
      @servers.rotate(round - 1).flat_map do |server|
        connections.map do |count|
          sleep PAUSE
          measure(server, count, round).tap { |measurement| report_on(measurement) }
        end
      end
    end

    def measure(server, connections, round)
      Measurement.take(server, Wrk.new(server.url, connections: connections, duration: @setup.duration), round: round)
    end

    def report_on(measurement)
      @session.say format("round %<round>d  %<server>-10s %<connections>3d connections  %<rps>9s requests/s  " \
                          "p50 %<p50>-8s p99 %<p99>-8s  others %<others>s",
                          round: measurement.round, server: measurement.server, connections: measurement.connections,
                          rps: Units.count(measurement.requests_per_second), p50: Units.seconds(measurement.p50),
                          p99: Units.seconds(measurement.p99), others: Units.percent(measurement.others))
      measurement.faults.each { |fault| @session.say "  !!! #{fault}" }
    end
  end
end
