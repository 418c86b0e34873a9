# frozen_string_literal: true

module PhusionPassenger
  module ForkSafety
    # ActionCable begins to listen for broadcasts, in threads of its own, as soon as somebody subscribes. What was begun while
    # the application was loaded is stopped, and begins again in the worker that needs it.
    class CableServer < Family
      # What the server makes when it is asked for it. In a process without the threads behind them they are dead.
      PARTS = %i[@pubsub @worker_pool @event_loop @remote_connections @heartbeat_timer @connections].freeze

      def before_fork
        server = started or return
        attempt("stopping ActionCable") do
          server.restart
          loop_of(server)&.stop
          forget(server, %i[@event_loop @heartbeat_timer])
        end
      end

      # The connections are those of the parent's clients: closing them in an orderly way would be talking to these.
      def disowned
        server = started or return
        attempt("giving up ActionCable's connections") { forget(server, PARTS) }
      end

      private

      # ActionCable.server would make one.
      def started
        cable = loaded("ActionCable") and cable.instance_variable_get(:@server)
      end

      def loop_of(server) = server.instance_variable_get(:@event_loop)

      def forget(server, parts)
        parts.each { |name| server.instance_variable_set(name, nil) if server.instance_variable_defined?(name) }
      end
    end
  end
end
