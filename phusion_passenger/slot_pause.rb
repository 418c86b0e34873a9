# frozen_string_literal: true

module PhusionPassenger
  # Keeps the slots of a worker from taking requests for a while. Their threads wait; they are not ended, because the
  # application may keep things in them.
  class SlotPause
    def initialize
      @lock = Mutex.new
      @over = ConditionVariable.new
      @on = false
      @resting = {}
    end

    def on? = @on

    # threads: Hash of slot to Thread
    def begin(threads)
      @lock.synchronize { @on = true }
      @resting.clear
      threads.each { |slot, thread| slot.pause(thread) }
    end

    def end(slots)
      slots.each(&:resume)
      @lock.synchronize do
        @on = false
        @over.broadcast
      end
    end

    # The thread of a slot waits here.
    def wait
      @lock.synchronize { @over.wait(@lock) while @on }
    end

    # The slot takes no requests now; or its thread has ended, and its next one has yet to say so.
    def resting(slot) = @resting[slot] = true
    def not_resting(slot) = @resting.delete(slot)

    def all_resting?(slots) = slots.all? { |slot| @resting[slot] }
  end
end
