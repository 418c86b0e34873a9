# frozen_string_literal: true

module PhusionPassenger
  # Middlewares. Inside PhusionPassenger the library of that name is ::Rack.
  module Rack
    # Collects garbage between requests, while the server sends requests to other processes:
    #
    #   PhusionPassenger.require_passenger_lib "rack/out_of_band_gc"
    #   use PhusionPassenger::Rack::OutOfBandGc, 5                          # after every fifth request
    #   use PhusionPassenger::Rack::OutOfBandGc, strategy: :gctools_oobgc   # when the gem gctools finds it worthwhile
    class OutOfBandGc
      STRATEGIES = %i[counting gctools_oobgc].freeze
      OPTIONS = %i[strategy frequency logger].freeze
      # What a worker reads, and the client never sees; in lower case, as Rack 3 wants it
      HEADER = "!~request-oob-work"

      # frequency:: requests of a process between two collections, for the strategy :counting
      # strategy::  :counting or :gctools_oobgc
      # logger::    anything with info; is told how long each collection took
      def initialize(app, frequency = nil, logger = nil, **options)
        frequency, options = nil, frequency.merge(options) if frequency.is_a?(Hash)
        @app = app
        @logger = options.fetch(:logger, logger)
        @strategy = strategy_of(options)
        @frequency = frequency_of(frequency, options)
        @requests = 0
        @lock = Mutex.new
        prepare
      end

      def call(env)
        status, headers, body = @app.call(env)
        if due?
          headers = headers.dup if headers.frozen?
          headers[HEADER] = "true"
        end
        [status, headers, body]
      end

      private

      def strategy_of(options)
        unknown = options.keys - OPTIONS
        complain("has no option #{unknown.map(&:inspect).join(", ")}; there are #{list(OPTIONS)}") unless unknown.empty?
        strategy = options.fetch(:strategy, :counting)
        strategy = strategy.to_sym if strategy.is_a?(String)
        return strategy if STRATEGIES.include?(strategy)

        complain("has no strategy #{strategy.inspect}; there are #{list(STRATEGIES)}")
      end

      def frequency_of(frequency, options)
        complain("has got two frequencies, #{frequency.inspect} and #{options[:frequency].inspect}") if frequency && options.key?(:frequency)
        frequency = options.fetch(:frequency, frequency)
        if @strategy == :gctools_oobgc
          complain("takes no frequency with strategy: :gctools_oobgc, which decides by itself") unless frequency.nil?
        elsif !frequency.is_a?(Integer) || frequency < 1
          complain("needs a frequency: after how many requests of a process it collects garbage, an Integer of at least 1 " \
                   "(use PhusionPassenger::Rack::OutOfBandGc, 5), not #{frequency.inspect}")
        end
        frequency
      end

      def complain(text) = raise(ArgumentError, "PhusionPassenger::Rack::OutOfBandGc #{text}")

      def list(names) = names.map(&:inspect).join(" and ")

      def prepare
        load_gctools if @strategy == :gctools_oobgc
        PhusionPassenger.on_event(:oob_work) { collect }
      end

      def load_gctools
        require "gctools/oobgc"
        ::GC::OOB.setup
      rescue LoadError => e
        complain("can't use strategy: :gctools_oobgc without the gem gctools (#{e.message}). Add it to the Gemfile, or use a frequency")
      end

      def due?
        return ::GC::OOB.dry_run if @strategy == :gctools_oobgc

        @lock.synchronize { (@requests += 1) % @frequency == 0 }
      end

      def collect
        start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        @strategy == :gctools_oobgc ? ::GC::OOB.run : ::GC.start
        seconds = Process.clock_gettime(Process::CLOCK_MONOTONIC) - start
        @logger&.info(format("out-of-band garbage collection of process %<pid>d took %<seconds>.3f s", pid: Process.pid, seconds: seconds))
      end
    end
  end
end
