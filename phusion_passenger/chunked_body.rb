# frozen_string_literal: true

module PhusionPassenger
  # Takes off the framing that the application has put around its body itself (Transfer-Encoding: chunked, as Rails 6.1
  # does for `render stream: true`): how the body goes over the connection is the engine's business.
  class ChunkedBody
    # Bytes. A chunk header is a hexadecimal number and perhaps an extension.
    MAX_HEADER = 1024

    def initialize(body)
      @body = body
    end

    def each
      buffer = String.new(encoding: Encoding::BINARY)
      left = nil # bytes of the current chunk that are still to come, nil between chunks
      @body.each do |piece|
        buffer << piece.b
        until buffer.empty?
          if left.nil?
            left = take_header(buffer) or break
            return if left.zero?
          elsif left.positive?
            data = buffer.slice!(0, left)
            left -= data.bytesize
            yield data
          else
            break if buffer.bytesize < 2

            malformed("a chunk does not end with CR LF") unless buffer.slice!(0, 2) == "\r\n"
            left = nil
          end
        end
      end
      malformed("it ends before the last chunk")
    end

    private

    def take_header(buffer)
      line = buffer.slice!(/\A[^\r\n]*\r\n/n)
      if line.nil?
        malformed("a chunk header is too long") if buffer.bytesize > MAX_HEADER
        return nil
      end
      size = line[/\A\h+(?=[\s;])/n] or malformed("#{line.inspect} is not a chunk header")
      size.hex
    end

    def malformed(what)
      raise Native::InvalidResponse, "the application says that it has chunked the body of its response " \
                                     "(Transfer-Encoding), but #{what}"
    end
  end
end
