# frozen_string_literal: true

module PhusionPassenger
  # Where the threads of a worker's slots are, for a request that takes too long.
  class SlotBacktraces
    # Bytes of all of it; a control message holds 64 KiB.
    LIMIT = 48 * 1024

    # threads: number of the slot => Thread or nil
    def initialize(threads)
      @threads = threads
    end

    # numbers: those that are asked for; none means all
    def text(numbers)
      numbers = @threads.keys if numbers.empty?
      share = LIMIT / [numbers.size, 1].max
      numbers.map { |number| limited(describe(number), share) }.join.byteslice(0, LIMIT).scrub("")
    end

    private

    def describe(number)
      return "slot #{number}: is not one of this worker's\n" unless @threads.key?(number)

      thread = @threads[number]
      frames = thread&.backtrace
      return "slot #{number}: has no thread at the moment\n" unless frames

      "slot #{number}: thread #{thread.name || thread.object_id}\n#{frames.map { |frame| "    #{Exceptions.utf8(frame)}\n" }.join}"
    end

    # The innermost frames come first.
    def limited(text, bytes)
      return text if text.bytesize <= bytes

      mark = "    … #{text.count("\n")} lines in all\n"
      whole_lines = text.byteslice(0, [bytes - mark.bytesize, 0].max).scrub("").rpartition("\n")
      "#{whole_lines[0]}\n#{mark}"
    end
  end
end
