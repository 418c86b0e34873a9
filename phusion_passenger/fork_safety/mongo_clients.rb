# frozen_string_literal: true

module PhusionPassenger
  module ForkSafety
    # MongoDB's clients, those of Mongoid among them. They have threads that watch the servers, so they must be started
    # again explicitly in each process; a client that is only closed refuses to work.
    class MongoClients < Family
      def initialize
        super
        @known = []
      end

      # Added to what is known already: under `rails server` the clients were closed by the process before this one.
      def before_fork
        @known = (@known + clients).uniq(&:__id__)
        each_of(@known, "closing a MongoDB client", &:close)
      end

      def after_fork
        each_of(@known, "reconnecting a MongoDB client", &:reconnect)
        @known = []
      end

      private

      def clients
        mongoid = loaded("Mongoid::Clients")
        known = mongoid.respond_to?(:clients) ? mongoid.clients.values : []
        known | objects("Mongo::Client")
      end
    end
  end
end
