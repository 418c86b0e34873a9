# frozen_string_literal: true

module Bench
  module Servers
    # `rails server` as it is typed in development, with one or the other handler.
    class RailsServer
      def initialize(handler, server)
        @handler = handler
        @server = server
      end

      PUMA = new("puma", Puma)
      PASSENGER = new("passenger", Passenger)
      ALL = [PASSENGER, PUMA].freeze

      def key
        @server.key
      end

      def label
        "rails server -u #{@handler}"
      end

      def missing
        @server.missing
      end

      def version(ruby)
        @server.version(ruby)
      end

      # Both run with the app's own Gemfile, which has both handlers.
      def env(launch)
        launch.app.env
      end

      def command(launch)
        [launch.ruby, "bin/rails", "server", "-u", @handler, "-b", launch.host, "-p", launch.port.to_s, "-P", launch.file("server.pid")]
      end
    end
  end
end
