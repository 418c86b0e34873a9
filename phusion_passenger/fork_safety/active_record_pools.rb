# frozen_string_literal: true

module PhusionPassenger
  module ForkSafety
    # The pools of every connection handler, role, shard and database. They connect when they are used; what a parent has left
    # open in them is discarded by ActiveRecord itself (see ForkHooks).
    class ActiveRecordPools < Family
      # Rails before that version is asked for the pools of all roles by another method.
      BY_ROLE_ARGUMENT = [7, 1].freeze

      def before_fork
        base = loaded("ActiveRecord::Base") or return
        return unless base.respond_to?(:connection_handler)

        each_of(attempt("finding the database connections") { pools(base) } || [], "closing database connections") do |pool|
          vacate(pool)
        end
      end

      private

      def pools(base)
        handlers(base).flat_map { |handler| pools_of(handler) }.uniq(&:__id__)
      end

      def handlers(base)
        found = [base.connection_handler]
        found << base.default_connection_handler if base.respond_to?(:default_connection_handler)
        [*found, *handlers_by_role(base)].compact.uniq(&:__id__)
      end

      # Rails 6.0, and 6.1 and 7.0 with legacy_connection_handling, have one for each role.
      def handlers_by_role(base)
        base.respond_to?(:connection_handlers) ? base.connection_handlers.values : []
      rescue NotImplementedError # without that setting
        []
      end

      def pools_of(handler)
        version = [::ActiveRecord::VERSION::MAJOR, ::ActiveRecord::VERSION::MINOR]
        if (version <=> BY_ROLE_ARGUMENT) >= 0
          handler.connection_pool_list(:all)
        elsif handler.respond_to?(:all_connection_pools)
          handler.all_connection_pools
        else
          handler.connection_pool_list
        end
      end

      # Pools wait for ten seconds for a thread to give back its connection, then take it away under the thread's feet. A thread
      # that the application has started may keep it: processes that are forked discard it.
      def vacate(pool)
        holders = holders_of(pool)
        return pool.disconnect! if holders.empty?

        pool.release_connection
        pool.flush!
        Log.write("fork safety: #{holders.map { |thread| name(thread) }.join(", ")} of the application holds a database " \
                  "connection in the process that workers are forked from; it is kept there, and workers open their own")
      end

      # Threads, or fibers, other than this one that work with a connection
      def holders_of(pool)
        own = [Thread.current, Fiber.current]
        pool.connections.filter_map { |connection| connection.owner if connection.in_use? }.uniq
            .select { |owner| owner.alive? && own.none? { |context| context.equal?(owner) } }
      end

      def name(thread)
        thread.is_a?(Thread) ? "thread #{thread.name || thread.inspect}" : thread.inspect
      end
    end
  end
end
