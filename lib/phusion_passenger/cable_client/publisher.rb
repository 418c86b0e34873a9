# frozen_string_literal: true

require_relative "locator"

module PhusionPassenger
  class CableClient
    # Sends messages, one after the other, each when the broker has confirmed the one before: so who publishes something, in
    # whatever process, after somebody else has done so, comes after him. The connection is one of its own; the thread that
    # publishes reads the answer itself, and waits for no other thread.
    class Publisher
      # locator: returns a Locator when it is called
      def initialize(locator)
        @locator = locator
        @lock = Mutex.new
        @connection = nil
        @closed = false
        @number = 0
      end

      def publish(channel, message)
        @lock.synchronize do
          begin
            send_message(channel, message)
          ensure
            disconnect if @closed # somebody still has the adapter; nothing must stay open
          end
        end
        nil
      end

      def close
        @lock.synchronize do
          @closed = true
          disconnect
        end
      end

      # For a process that was forked from the one whose publisher it is
      def abandon = @connection&.abandon

      private

      def send_message(channel, message)
        # What ended while it was idle, because the server has been restarted, is no reason to lose this message.
        disconnect if @connection&.ended?
        fresh = @connection.nil?
        @connection ||= @locator.call.connect
        @number = @number % 0xffff_ffff + 1
        @connection.ask(@number, Frames.encode(Frames::PUBLISH, @number, channel, message))
      rescue Lost
        disconnect
        raise if fresh

        retry # the broker has not got it
      rescue Error
        disconnect
        raise
      end

      def disconnect
        @connection&.close
        @connection = nil
      end
    end
  end
end
