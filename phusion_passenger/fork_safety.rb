# frozen_string_literal: true

module PhusionPassenger
  # Connections that the application opened while it was loaded: a preloader should hold none, and processes must not
  # share one. ActiveRecord notices a fork by itself (since 5.2).
  module ForkSafety
    class << self
      def before_fork
        return unless defined?(ActiveRecord::Base) && ActiveRecord::Base.respond_to?(:connection_handler)

        handler = ActiveRecord::Base.connection_handler
        # Since Rails 7.1 one asks for the connections of all roles by name.
        all_roles = handler.method(:clear_all_connections!).arity != 0 && ActiveRecord.respond_to?(:version) &&
                    ActiveRecord.version >= Gem::Version.new("7.1")
        all_roles ? handler.clear_all_connections!(:all) : handler.clear_all_connections!
      rescue StandardError => e
        Log.exception("closing the database connections of the preloader failed; workers open their own", e)
      end

      def after_fork
        Sequel::DATABASES.each(&:disconnect) if defined?(Sequel::DATABASES)
        Mongoid::Clients.clients.each_value(&:reconnect) if defined?(Mongoid::Clients) && Mongoid::Clients.respond_to?(:clients)
      rescue StandardError => e
        Log.exception("reconnecting to the databases after the fork failed", e)
      end
    end
  end
end
