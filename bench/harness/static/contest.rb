# frozen_string_literal: true

module Bench
  module Static
    # Runs the cases: all servers are started, asked for the same bytes in every case, warmed up, and then measured in turn.
    # Within a round a case is measured on one server right after the other, each time beginning with another one.
    class Contest
      # The load must not be what limits a server that sends files from memory.
      LOAD_THREADS = 2

      attr_reader :results, :headers, :commands, :unequal, :connections, :answers

      def initialize(cases, definitions, setup, session, site: Site.new)
        counts = setup.connections || [CONNECTIONS]
        raise Error, "static is measured with one number of connections, not with #{counts.join(' and ')}" if counts.size > 1

        @all_cases = cases
        @definitions = definitions
        @setup = setup
        @session = session
        @site = site
        @connections = counts.first
        @unequal = []
        @answers = {}
      end

      # Those in which all servers sent the same.
      def cases
        results.keys
      end

      def run
        @session.prepare(@site, @setup.ruby)
        @servers = @definitions.map { |definition| @session.start(definition, @site, @setup) }
        @headers = @servers.to_h { |server| [server.key, server.response_headers] }
        @commands = @servers.to_h { |server| [server.key, server.public_command] }
        @loads = @all_cases.to_h { |kase| [kase, agree_on(kase)] }.compact
        warm_up
        measure_all
        @loads.each_key { |kase| agree_on(kase) }
        self
      end

      # The configuration of nginx as a reader can use it, nil when nginx did not take part.
      def nginx_configuration
        server = @servers.find { |candidate| candidate.definition == Servers::Nginx }
        server&.public_text(Servers::Nginx.configuration(server.launch))
      end

      private

      # The headers that each server is loaded with, or nil when a server does not send what it should: then there is nothing
      # to compare, and the case is not measured.
      def agree_on(kase)
        expected = kase.expected(@site.public_dir)
        sent = @servers.to_h { |server| [server.key, kase.request_headers { |headers| server.ask(kase.path, headers) }] }
        complaints = @servers.filter_map { |server| complaint(server, kase, sent.fetch(server.key), expected) }
        complaints.each { |words| @session.say "  !!! #{words}" }
        @unequal.concat(complaints)
        @answers[kase] = expected
        sent if complaints.empty?
      end

      def complaint(server, kase, headers, expected)
        return "UNEQUAL: #{kase.name}: #{server.key} sent neither ETag nor Last-Modified for #{kase.path}" unless headers

        differences = Answer.of(server.ask(kase.path, headers)).differences(expected)
        "UNEQUAL: #{kase.name}: #{server.key} answered #{kase.path} with #{differences.join(', ')}" if differences.any?
      end

      def warm_up
        @loads.each do |kase, headers|
          @session.say "warming up #{kase.name}"
          @servers.each { |server| load(server, kase, headers, @setup.warmup).run }
        end
      end

      def measure_all
        measurements = @loads.to_h { |kase, _| [kase, []] }
        (1..@setup.rounds).each do |round|
          @loads.each_with_index do |(kase, headers), index|
            @servers.rotate(round - 1 + index).each { |server| measurements[kase] << measure(server, kase, headers, round) }
          end
        end
        @results = measurements.transform_values { |list| Results.new(list) }
      end

      def measure(server, kase, headers, round)
        sleep SideBySide::PAUSE
        Measurement.take(server, load(server, kase, headers, @setup.duration), round: round).tap { |taken| report_on(kase, taken) }
      end

      def load(server, kase, headers, seconds)
        Wrk.new(server.url(kase.path), connections: connections, duration: seconds, threads: LOAD_THREADS, headers: headers.fetch(server.key))
      end

      def report_on(kase, taken)
        @session.say format("round %<round>d  %<kase>-5s %<server>-10s %<value>10s %<unit>-10s  p50 %<p50>-8s p99 %<p99>-8s  " \
                            "CPU %<cpu>-8s  others %<others>s",
                            round: taken.round, kase: kase.name, server: taken.server, value: kase.metric.write(taken[kase.metric.key]),
                            unit: kase.metric.column, p50: Units.seconds(taken.p50), p99: Units.seconds(taken.p99),
                            cpu: Units.seconds(taken.cpu_per_request), others: Units.percent(taken.others))
        taken.faults.each { |fault| @session.say "  !!! #{kase.name}: #{fault}" }
      end
    end
  end
end
