# frozen_string_literal: true

module PhusionPassenger
  # What a streaming body (Rack 3: one that responds to call and not to each) writes to. It may be handed to another
  # thread; the response ends when it is closed.
  class Stream
    def initialize(slot, status, headers, input)
      @slot = slot
      @status = status
      @headers = headers
      @input = input
      @begun = false
      @write_closed = false
      @lock = Mutex.new
      @ended = ConditionVariable.new
    end

    def write(*chunks)
      @lock.synchronize { chunks.sum { |chunk| write_chunk(chunk.to_s) } }
    end

    def <<(chunk)
      write(chunk)
      self
    end

    # Writes never stay in this process; what flush adds is that the head goes out before the first of them.
    def flush
      @lock.synchronize { begin_response(nil) unless @begun || @write_closed }
      self
    end

    def read(...) = input.read(...)
    def readpartial(...) = input.readpartial(...)
    def gets(...) = input.gets(...)
    def each(...) = input.each(...)

    def close_read
      @input = nil
    end

    def close_write
      @lock.synchronize do
        next if @write_closed

        @write_closed = true
        finish
      ensure
        @ended.broadcast
      end
      nil
    end

    def close(_error = nil)
      close_read
      close_write
    end

    def closed? = @write_closed && @input.nil?
    def sync = true
    def sync=(value)
      value
    end

    # Waits until the application has closed the stream. Raises what a write has failed with, in whichever thread.
    def wait
      @lock.synchronize { @ended.wait(@lock) until @write_closed }
      raise @failure if @failure
    end

    # Nobody reads what is written: reading and writing fail from now on, and who waits for the end waits no longer. A write
    # under way ends by itself.
    def client_gone
      @lock.synchronize do
        next if @write_closed

        @failure = Native::ClientGone.new("the client has closed the connection before the end of the response")
        @write_closed = true
        @input = nil
        @ended.broadcast
      end
    end

    # No writes from now on; what has been sent is all there is.
    def abandon
      @lock.synchronize do
        @write_closed = true
        @ended.broadcast
      end
    end

    private

    def input
      @input or raise IOError, "not opened for reading"
    end

    def write_chunk(chunk)
      raise @failure if @failure
      raise IOError, "not opened for writing" if @write_closed
      return 0 if chunk.empty?

      @begun ? @slot.write_body(chunk) : begin_response(chunk)
      chunk.bytesize
    rescue Native::ClientGone, Native::Disconnected => e
      @failure = e
      @write_closed = true
      @ended.broadcast
      raise
    end

    def begin_response(chunk)
      @begun = true
      @slot.write_head(@status, @headers, chunk)
    end

    def finish
      @begun ? @slot.write_end : @slot.respond(@status, @headers, [])
    end
  end
end
