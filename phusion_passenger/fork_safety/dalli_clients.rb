# frozen_string_literal: true

module PhusionPassenger
  module ForkSafety
    # Clients of memcached. Dalli notices a fork, but says so in the log and, for the first request, takes the server for one
    # that has failed. A closed client connects when it is used.
    class DalliClients < Family
      def initialize
        super
        @known = []
      end

      def before_fork
        @known = objects("Dalli::Client")
        close(@known)
      end

      def after_fork
        close(@known)
        @known = []
      end

      private

      def close(clients) = each_of(clients, "closing a Dalli client", &:close)
    end
  end
end
