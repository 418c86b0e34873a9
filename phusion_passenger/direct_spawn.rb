# frozen_string_literal: true

require_relative "spawn_order"

module PhusionPassenger
  # A process that has loaded the application for itself alone, and becomes its one worker.
  class DirectSpawn
    # control: the control socket on which the application was loaded; app: LoadedApp
    def initialize(control, app)
      @control = control
      @app = app
    end

    # The worker; nil if the engine goes away without wanting one.
    def run
      while (message = @control.receive)
        return become_worker(SpawnOrder.new(message)) if message.verb == "spawn"

        @control.refuse(message)
      end
    rescue Native::Disconnected
      nil
    end

    private

    def become_worker(order)
      @control.post("spawned", "worker" => order.worker, "pid" => Process.pid)
      Native.end_hangup_watch # the engine closes its end, too
      @control.close
      order.to_worker(@app, forked: false)
    end
  end
end
