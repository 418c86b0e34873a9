# frozen_string_literal: true

module Harness
  # SPEC_SERVER=puma runs the specs against Puma instead, to tell a mistake in a spec from one in the server: where both
  # are red, the spec deserves the second look first.
  class PumaServer < Server
    def initialize(directory, environment: {}, threads: 1, **options)
      address = options[:socket] || [options[:address] || "127.0.0.1", options[:port] || Server.free_port]
      place = address.is_a?(String) ? "unix://#{address}" : "tcp://#{bracketed(address)}"
      argv = ["puma", "--bind", place, "--threads", "#{threads}:#{threads}", "--workers", "1", "config.ru"]
      super(argv, address: address, directory: directory, environment: environment, name: "puma")
    end

    def log
      output
    end
    alias said output

    # Puma re-raises TERM at its end; INT gives exit 0.
    def stop(_signal = nil)
      super(:INT)
    end

    private

    def bracketed((host, port))
      host.include?(":") ? "[#{host}]:#{port}" : "#{host}:#{port}"
    end
  end

  # The server under test for an application directory; options are those of `passenger start`.
  def self.server(directory, environment: {}, **options)
    case ENV.fetch("SPEC_SERVER", "passenger")
    when "passenger" then PassengerServer.new(directory, environment: environment, **options)
    when "puma"
      threads = options.fetch(:thread_count, 1) * options.fetch(:max_pool_size, 1)
      PumaServer.new(directory, environment: environment.merge("BUNDLE_GEMFILE" => nil), threads: threads,
                                **options.slice(:socket, :address, :port))
    else raise ArgumentError, "SPEC_SERVER is #{ENV["SPEC_SERVER"].inspect}, expected passenger or puma"
    end
  end
end
