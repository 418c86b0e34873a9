# frozen_string_literal: true

require_relative "error"

module PhusionPassenger
  class CableClient
    # What is on the wire; see docs/protocol.md.
    module Frames
      VERSION = 1
      HEADER = "VCCvV" # length of channel and message, kind, 0, length of the channel, number
      HEADER_SIZE = 12
      MAX_CHANNEL = 8192
      MAX_MESSAGE = 1_048_576

      HELLO = 1
      SUBSCRIBE = 2
      UNSUBSCRIBE = 3
      PUBLISH = 4
      DONE = 5
      MESSAGE = 6
      FAILURE = 7

      # channel and message: binary Strings
      def self.encode(kind, number, channel, message = "")
        size = channel.bytesize
        [size + message.bytesize, kind, 0, size, number].pack(HEADER) << channel << message
      end

      # Takes frames out of the bytes as they come.
      class Reader
        def initialize
          @buffer = String.new(encoding: Encoding::BINARY)
        end

        # Yields kind, number, channel and message of every frame that is complete now.
        def feed(bytes)
          @buffer << bytes
          at = 0
          while (frame = header(at))
            size, kind, channel_size, number = frame
            start = at + HEADER_SIZE
            break if @buffer.bytesize < start + size

            yield kind, number, @buffer.byteslice(start, channel_size),
                  @buffer.byteslice(start + channel_size, size - channel_size)
            at = start + size
          end
          @buffer = @buffer.byteslice(at..) if at.positive?
        end

        private

        def header(at)
          return if @buffer.bytesize - at < HEADER_SIZE

          size, kind, zero, channel_size, number = @buffer.unpack(HEADER, offset: at)
          if zero != 0 || channel_size > size || size > MAX_CHANNEL + MAX_MESSAGE
            raise Error, "the server sent a frame that is none (#{@buffer.byteslice(at, HEADER_SIZE).unpack1("H*")})"
          end

          [size, kind, channel_size, number]
        end
      end
    end
  end
end
