# frozen_string_literal: true

require "digest/sha1"
require "securerandom"

module Harness
  # The client's side of RFC 6455, as far as the specs need it: whole messages of text, and the closing handshake.
  class WebSocket
    GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    TEXT = 1
    CLOSE = 8
    PING = 9
    PONG = 10

    class Refused < StandardError; end

    # close_code: what the other side has given in its close frame
    attr_reader :response_headers, :close_code

    # A frame of a client. Those are masked.
    def self.masked(opcode, payload)
      payload = payload.b
      mask = SecureRandom.bytes(4)
      length = payload.bytesize
      size = length < 126 ? [0x80 | length].pack("C") : length < 65_536 ? [0xFE, length].pack("Cn") : [0xFF, length].pack("CQ>")
      masked = payload.bytes.each_with_index.map { |byte, i| byte ^ mask.getbyte(i % 4) }.pack("C*")
      [0x80 | opcode].pack("C") + size + mask + masked
    end

    # early: text of a message that is sent together with the request.
    def initialize(server, target, early: nil, **headers)
      @client = server.connect
      key = SecureRandom.base64(16)
      lines = { "Host" => "#{server.address.first}:#{server.port}", "Connection" => "Upgrade", "Upgrade" => "websocket",
                "Sec-WebSocket-Version" => "13", "Sec-WebSocket-Key" => key, **headers }
      request = "GET #{target} HTTP/1.1\r\n#{lines.map { |name, value| "#{name}: #{value}\r\n" }.join}\r\n"
      @client.write(request.b + (early ? frame(TEXT, early) : ""))
      expect_acceptance(key)
    end

    def send_text(text)
      @client.write(frame(TEXT, text))
    end

    # The text of the next message; nil when the other side closes.
    def receive
      loop do
        opcode, payload = read_frame
        case opcode
        when TEXT then return payload.force_encoding("UTF-8")
        when PING then @client.write(frame(PONG, payload))
        when CLOSE
          @close_code = payload.unpack1("n")
          return nil
        end
      end
    end

    # Ends with the handshake, or at least with the connection.
    def finish
      @client.write(frame(CLOSE, [1000].pack("n")))
      nil while receive
    rescue HTTPClient::ConnectionEnded
      nil
    ensure
      close
    end

    def ended? = @client.ended?
    def close = @client.close

    private

    def expect_acceptance(key)
      _, status, reason = @client.read_status_line
      @response_headers = @client.read_headers.to_h
      expected = [Digest::SHA1.digest(key + GUID)].pack("m0")
      return if status == 101 && @response_headers["sec-websocket-accept"] == expected

      raise Refused, "#{status} #{reason} #{@response_headers}"
    end

    def frame(opcode, payload) = WebSocket.masked(opcode, payload)

    def read_frame
      first, length = @client.read_exactly(2).unpack("CC")
      length = @client.read_exactly(2).unpack1("n") if length == 126
      length = @client.read_exactly(8).unpack1("Q>") if length == 127
      [first & 0x0F, @client.read_exactly(length)]
    end
  end
end
