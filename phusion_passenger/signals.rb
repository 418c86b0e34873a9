# frozen_string_literal: true

module PhusionPassenger
  # Signals of application processes.
  module Signals
    # Those that applications and gems trap. PROF is left to profilers, VTALRM is Ruby's own.
    TRAPPABLE = %w[HUP INT QUIT TERM USR1 USR2 ALRM CONT TSTP TTIN TTOU WINCH URG IO CHLD].freeze

    class << self
      # Handlers that were installed while the application was loaded, or by the process this one was forked from,
      # don't apply to a worker.
      def reset
        TRAPPABLE.each do |name|
          next unless Signal.list.key?(name)

          before = trap(name, "SYSTEM_DEFAULT")
          trap(name, before.is_a?(Proc) ? "DEFAULT" : before)
        end
      end

      # Where every thread is, for a process that seems to hang.
      def dump_threads
        Thread.new do # a trap handler can't wait for the locks that writing may need
          lines = Thread.list.flat_map do |thread|
            next [] if thread == Thread.current

            ["thread #{thread.name || thread.object_id} (#{thread.status || "dead"})",
             *(thread.backtrace || []).map { |entry| "    #{entry}" }]
          end
          Log.write("backtraces of all threads:\n#{lines.join("\n")}")
        end
      end
    end
  end
end
