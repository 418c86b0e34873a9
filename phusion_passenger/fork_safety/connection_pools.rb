# frozen_string_literal: true

module PhusionPassenger
  module ForkSafety
    # The gem connection_pool, and so what is built on it: pools of Redis clients, of Dalli clients, of persistent HTTP
    # connections. What lies in a pool is closed and forgotten; the pool makes new ones when they are asked for. (Since 2.4 it
    # does so itself in the child. In the parent the connections would stay open for as long as it lives.)
    class ConnectionPools < Family
      def initialize
        super
        @known = []
      end

      def before_fork
        @known = objects("ConnectionPool").select { |pool| reloads?(pool) }
        empty(@known)
      end

      def after_fork
        empty(@known)
        @known = []
      end

      private

      def empty(pools)
        each_of(pools, "emptying a ConnectionPool") do |pool|
          # The pool does not know how its connections are closed either.
          pool.reload { |connection| connection.close if connection.respond_to?(:close) }
        end
      end

      def reloads?(pool)
        pool.respond_to?(:reload) && !(pool.respond_to?(:auto_reload_after_fork) && pool.auto_reload_after_fork == false)
      end
    end
  end
end
