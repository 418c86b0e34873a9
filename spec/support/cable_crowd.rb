# frozen_string_literal: true

require "digest/sha1"
require "io/nonblock"
require "json"
require "securerandom"

module Harness
  # Many clients of Action Cable in one thread. Each subscribes to one channel, notes the numbers that are broadcast there, and
  # connects again at once whenever its connection ends.
  class CableCrowd
    # What a client has seen on one connection. due: the first number whose broadcast had not begun when the subscription was
    # confirmed; nil if it has not been. farewell: the message that said why it ends. close_code: of the close frame. away: how
    # many seconds before the confirmation the client's last confirmed connection ended.
    Session = Struct.new(:due, :numbers, :farewell, :close_code, :away, keyword_init: true) do
      def confirmed? = !due.nil?

      # Numbers that should have come and have not, up to this one. (What is on its way when a connection ends is lost with it,
      # and Action Cable, with its many threads, may send a number before its predecessor.)
      def lost(last) = (due..last).to_a - numbers
    end

    # The client's side of one connection after another.
    class Client
      REQUEST = ["GET /cable HTTP/1.1", "Host: %<host>s", "Origin: http://%<host>s", "Connection: Upgrade", "Upgrade: websocket",
                 "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: %<key>s", "Sec-WebSocket-Protocol: actioncable-v1-json", "", ""].join("\r\n")

      attr_reader :sessions, :socket

      def initialize(crowd)
        @crowd = crowd
        @sessions = []
        connect
      end

      def session = @sessions.last
      def confirmed? = @socket && session.confirmed?
      def close = @socket&.close

      def connect
        @sessions << Session.new(numbers: [])
        @buffer = +"".b
        @open = false
        @socket = TCPSocket.new(*@crowd.address)
        write(format(REQUEST, host: @crowd.address.join(":"), key: SecureRandom.base64(16)))
      rescue Errno::ECONNREFUSED, Errno::ECONNRESET, Errno::EPIPE
        @crowd.refused += 1
        @socket = nil
      end

      def readable
        piece = @socket.read_nonblock(65_536, exception: false)
        return if piece == :wait_readable
        return ended if piece.nil?

        @buffer << piece
        accept unless @open
        take_frames if @open
      rescue Errno::ECONNRESET, Errno::EPIPE
        ended
      end

      private

      def accept
        head_end = @buffer.index("\r\n\r\n") or return
        head = @buffer.slice!(0..(head_end + 3))
        raise "Action Cable answers #{head.lines.first.inspect}" unless head.start_with?("HTTP/1.1 101 ")

        @open = true
      end

      def take_frames
        while (frame = next_frame)
          opcode, payload = frame
          case opcode
          when WebSocket::TEXT then message(JSON.parse(payload))
          when WebSocket::PING then write(WebSocket.masked(WebSocket::PONG, payload))
          when WebSocket::CLOSE
            session.close_code = payload.unpack1("n")
            write(WebSocket.masked(WebSocket::CLOSE, payload))
          end
        end
      end

      # A server sends no more than 64 KiB here, and masks nothing.
      def next_frame
        return if @buffer.bytesize < 2

        length = @buffer.getbyte(1)
        start = 2
        length, start = @buffer.byteslice(2, 2).unpack1("n") || 0, 4 if length == 126
        return if @buffer.bytesize < start + length

        [@buffer.getbyte(0) & 0x0F, @buffer.slice!(0, start + length).byteslice(start..)]
      end

      def message(content)
        case content["type"]
        when "welcome" then write(WebSocket.masked(WebSocket::TEXT, JSON.generate(command: "subscribe", identifier: @crowd.identifier)))
        when "confirm_subscription" then confirmed
        when "disconnect" then session.farewell = content
        when "ping" then nil
        when nil then session.numbers << content.fetch("message").fetch("number")
        else raise "Action Cable says #{content}"
        end
      end

      def confirmed
        session.due = @crowd.begun + 1
        session.away = Deadline.now - @ended if @ended
        @ended = nil
      end

      def ended
        @ended ||= Deadline.now
        @socket.close
        connect
      end

      def write(bytes) = @socket.write(bytes)
    end

    attr_reader :address, :identifier, :clients
    # The number of the last broadcast that somebody has begun
    attr_accessor :begun
    # How often the server has refused a connection
    attr_accessor :refused

    # channel: name of its class
    def initialize(server, size, channel:)
      @address = server.address
      @identifier = JSON.generate(channel: channel)
      @begun = 0
      @refused = 0
      @leave, @left = IO.pipe
      allow_descriptors(size + 200)
      @clients = Array.new(size) { Client.new(self) }
      @thread = Thread.new { watch }
      @thread.report_on_exception = false
    end

    # Raises what has gone wrong with a client.
    def confirmed
      @thread.join(0)
      @clients.count(&:confirmed?)
    end

    def all_confirmed(within:)
      Harness.eventually(-> { "confirmation of #{@clients.size} subscriptions (#{confirmed} are)" }, within: within) { confirmed == @clients.size }
    end

    def sessions = @clients.flat_map(&:sessions)

    def finish
      @left.write(".")
      @thread.join
    ensure
      [*@clients, @leave, @left].each(&:close)
    end

    private

    def watch
      loop do
        @clients.each { |client| client.connect if client.socket.nil? }
        by_socket = @clients.reject { |client| client.socket.nil? }.to_h { |client| [client.socket, client] }
        ready, = IO.select([@leave, *by_socket.keys], nil, nil, 0.1)
        break if ready&.include?(@leave)

        ready&.each { |socket| by_socket.fetch(socket).readable }
      end
    end

    def allow_descriptors(number)
      soft, hard = Process.getrlimit(:NOFILE)
      Process.setrlimit(:NOFILE, [number, hard].min, hard) if soft < number
    end
  end
end
