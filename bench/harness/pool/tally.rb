# frozen_string_literal: true

module Bench
  module Pool
    # What became of the requests of one group of connections.
    class Tally
      # So many failures are told with their moment; all are counted.
      TOLD = 50
      # A fast request that took longer has waited for something else than its turn, in seconds.
      LONG = 1.0

      # `runs`: keep what the application says about each request.
      def initialize(began, runs: false)
        @began = began
        @latencies = []
        @failures = Hash.new(0)
        @told = []
        @closed = 0
        @runs = [] if runs
      end

      def answered(seconds, body)
        @latencies << seconds
        @runs&.push(body.split.map { |word| Integer(word, 10) })
      end

      def failed(kind, now)
        @failures[kind] += 1
        @told << [(now - @began).round(3), kind] if @told.size < TOLD
      end

      def closed
        @closed += 1
      end

      def to_h
        sorted = @latencies.sort
        { answered: sorted.size, failures: @failures, told: @told, closed: @closed, long: sorted.count { |seconds| seconds > LONG },
          p50: Tally.quantile(sorted, 0.5), p99: Tally.quantile(sorted, 0.99), max: sorted.last, runs: @runs }
      end

      # The smallest value that at least this share of all do not exceed; nil of none.
      def self.quantile(sorted, share)
        sorted[[(sorted.size * share).ceil - 1, 0].max]
      end
    end
  end
end
