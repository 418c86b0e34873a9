# frozen_string_literal: true

module PhusionPassenger
  module ForkSafety
    # Clients of the gems redis (4 and 5) and redis-client, also those within Redis::Distributed, clusters, ActionCable and the
    # cache. Neither gem keeps a list of them. A closed client connects when it is used.
    class RedisClients < Family
      # Redis::Client has been a RedisClient since redis 5.
      CLASSES = %w[Redis::Client RedisClient].freeze

      def initialize
        super
        @known = []
      end

      def before_fork
        @known = CLASSES.flat_map { |name| objects(name) }.uniq(&:__id__)
        close(@known)
      end

      # A client that a thread of the parent has connected again since: redis 4 would raise InheritedError.
      def after_fork
        close(@known)
        @known = []
      end

      private

      def close(clients)
        each_of(clients, "closing a Redis client") do |client|
          next unless client.connected?

          client.respond_to?(:disconnect) ? client.disconnect : client.close
        end
      end
    end
  end
end
