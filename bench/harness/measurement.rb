# frozen_string_literal: true

module Bench
  # One server under one load in one round. Times in seconds, memory in bytes; `others` is the share of all processors that
  # neither this server nor the load generator used.
  Measurement = Struct.new(:server, :connections, :round, :requests_per_second, :bytes_per_second, :p50, :p99, :cpu_per_request,
                           :rss, :pss, :errors, :others, :replaced, keyword_init: true) do
    # Loads the server and tells how it did.
    def self.take(server, wrk, round:)
      before = Sample.of(server)
      load = wrk.run
      after = Sample.of(server)
      memory = server.memory
      new(server: server.key, connections: wrk.connections, round: round,
          requests_per_second: load.requests_per_second, bytes_per_second: load.bytes_per_second, p50: load.p50, p99: load.p99,
          cpu_per_request: (after.server - before.server) / load.requests, rss: memory.rss, pss: memory.pss,
          errors: load.errors, others: after.others_since(before), replaced: before.workers != after.workers)
    end

    def error_count
      errors.values.sum
    end

    # Why this measurement does not count, in words; empty when all went well.
    def faults
      words = Wrk.faults(errors)
      words << "application processes were replaced" if replaced
      words.map { |what| "ERROR: #{server}, #{connections} connections, round #{round}: #{what}" }
    end
  end

  # All measurements of one contest.
  class Results
    def initialize(measurements)
      @measurements = measurements
    end

    attr_reader :measurements

    def of(server, connections)
      @measurements.select { |m| m.server == server && m.connections == connections }.sort_by(&:round)
    end

    def spread(server, connections, metric)
      Spread.of(of(server, connections).map(&metric))
    end

    # Ours ÷ peer's, round by round.
    def ratio(ours, peer, connections, metric)
      Spread.of_ratios(of(ours, connections).map(&metric), of(peer, connections).map(&metric))
    end

    def faults
      @measurements.flat_map(&:faults)
    end

    def others
      Spread.of(@measurements.map(&:others))
    end
  end
end
