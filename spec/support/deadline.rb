# frozen_string_literal: true

module Harness
  class DeadlineExceeded < StandardError; end

  # A point in time after which waiting turns into a failure. Specs never assert how long something takes; deadlines
  # only keep a hanging server from hanging the suite, so they are generous.
  class Deadline
    DEFAULT_SECONDS = 20

    # The suite may run on a slow or busy machine: every deadline is stretched by this factor.
    FACTOR = Float(ENV.fetch("SPEC_DEADLINE_FACTOR", "1"))

    def self.now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end

    def initialize(seconds = DEFAULT_SECONDS)
      @seconds = seconds * FACTOR
      @at = Deadline.now + @seconds
    end

    def left
      [@at - Deadline.now, 0].max
    end

    def passed?
      left.zero?
    end

    def check!(what)
      raise DeadlineExceeded, "#{what} did not happen within #{@seconds} s" if passed?
    end
  end

  # Polls until the block gives something truthy and returns that.
  def self.eventually(what, within: Deadline::DEFAULT_SECONDS)
    deadline = Deadline.new(within)
    until (result = yield)
      deadline.check!(what.respond_to?(:call) ? what.call : what)
      sleep 0.01
    end
    result
  end
end
