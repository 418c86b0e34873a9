# frozen_string_literal: true

module Bench
  module Cable
    # An application with Action Cable (bench/apps/cable.ru) and one of its adapters.
    class Application < App
      # redis: URL of a server, for that adapter
      def initialize(adapter, redis: nil, channel_workers: nil)
        super("cable", root: APPS, startup_file: File.join(APPS, "cable.ru"), length: 12, text: "Hello world\n")
        @env = { "CABLE_ADAPTER" => adapter, "REDIS_URL" => redis, "CABLE_WORKERS" => channel_workers&.to_s,
                 "RUBYLIB" => (Servers::Passenger::LIB if adapter == "passenger") }.compact # as a Gemfile does
      end

      attr_reader :env
    end

    CHANNEL = "BenchmarkChannel"
    PATH = "/cable"
    # WebSockets without Action Cable
    SOCKETS_APP = App.new("sockets", root: App::APPS, startup_file: File.join(App::APPS, "sockets.ru"), length: 12, text: "Hello world\n")
  end
end
