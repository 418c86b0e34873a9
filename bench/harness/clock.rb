# frozen_string_literal: true

module Bench
  # Monotonic time, in seconds; the same clock in every process of the machine.
  module Clock
    module_function

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end

    # Calls the block until it gives something true, at most for `seconds`; nil when it never did.
    def wait_until(seconds, every: 0.05)
      deadline = now + seconds
      loop do
        result = yield
        return result if result
        return nil if now >= deadline

        sleep every
      end
    end
  end
end
