# frozen_string_literal: true

require "socket"

module Bench
  module Pool
    # Takes the bytes of a response and tells when it is complete.
    class Response
      attr_reader :status, :body

      def initialize
        @buffer = +""
      end

      def empty?
        @buffer.empty?
      end

      def <<(bytes)
        @buffer << bytes
        read_head unless status
        read_body if status
        self
      end

      def complete?
        @complete
      end

      # The server has closed: the end of a body without a length.
      def finish
        return unless status && !@length && !@chunked

        @body = @buffer.byteslice(@start..)
        @complete = true
      end

      def keep_alive?
        @keep_alive && (@length || @chunked)
      end

      private

      def read_head
        finish = @buffer.index("\r\n\r\n") or return
        head = @buffer.byteslice(0, finish)
        @status = head[%r{\AHTTP/1\.[01] (\d{3})}, 1]&.to_i or raise Unreadable, head.lines.first.to_s
        @start = finish + 4
        @length = head[/^content-length: *(\d+)/i, 1]&.to_i
        @chunked = head.match?(/^transfer-encoding: *chunked/i)
        @keep_alive = !head.match?(/^connection: *close/i)
      end

      def read_body
        if @length
          return if @buffer.bytesize < @start + @length
          raise Unreadable, "more than one response" if @buffer.bytesize > @start + @length

          @body = @buffer.byteslice(@start, @length)
        elsif @chunked
          return unless @buffer.end_with?("\r\n0\r\n\r\n")

          @body = @buffer.byteslice(@start..)
        else
          return
        end
        @complete = true
      end
    end

    # The peer does not speak HTTP as it has to.
    class Unreadable < StandardError; end

    # One client: sends a request, waits for the whole response, sends the next, and keeps account of how it went.
    #
    # What a server may do with a connection between two requests is close it. Everything else (no connection, no response, half a
    # response, another status than 200) is a failure.
    class Connection
      # Before the next attempt when there was no connection or no right answer, in seconds.
      PAUSE = 0.02

      attr_reader :due, :state, :since

      # `tally` hears of results; `interval` lies between the starts of two requests (0: at once).
      def initialize(address, request, tally, first:, interval: 0, timeout: 10)
        @address = address
        @request = request
        @tally = tally
        @due = first
        @interval = interval
        @timeout = timeout
        @state = :resting
      end

      def to_io
        @socket
      end

      def busy?
        @state != :resting
      end

      def deadline
        @since + @timeout
      end

      def start(now)
        @since = now
        @response = Response.new
        forget_closed if @socket
        @socket ? send_request : connect
      end

      # The socket that was being connected is writable.
      def connected(now)
        error = @socket.getsockopt(Socket::SOL_SOCKET, Socket::SO_ERROR).int
        error.zero? ? send_request : fail_with("no connection: #{SystemCallError.new(error).class.name[/\w+\z/]}", now)
      rescue SystemCallError => e
        fail_with("connection broken: #{name_of(e)}", now)
      end

      def readable(now)
        case (bytes = @socket.read_nonblock(65_536, exception: false))
        when :wait_readable then return
        when nil then return ended(now)
        else @response << bytes
        end
        answered(now) if @response.complete?
      rescue SystemCallError => e
        fail_with("#{before_or_within} response: #{name_of(e)}", now)
      rescue Unreadable => e
        fail_with("unreadable: #{e.message.strip}", now)
      end

      def overdue(now)
        fail_with("no response in #{@timeout} s", now)
      end

      def close
        @socket&.close
        @socket = nil
      end

      private

      # An end that comes while nothing was asked for.
      def forget_closed
        return if @socket.read_nonblock(1, exception: false) == :wait_readable

        @tally.closed
        close
      rescue SystemCallError
        @tally.closed
        close
      end

      def connect
        @socket = Socket.new(Socket::AF_INET, Socket::SOCK_STREAM)
        @socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
        @state = :connecting
        send_request unless @socket.connect_nonblock(@address, exception: false) == :wait_writable
      rescue SystemCallError => e
        fail_with("no connection: #{name_of(e)}", @since)
      end

      def send_request
        @state = :waiting
        @socket.write(@request)
      rescue SystemCallError => e
        fail_with("before the response: #{name_of(e)}", @since)
      end

      def ended(now)
        @response.finish
        return fail_with("#{before_or_within} response: closed", now) unless @response.complete?

        answered(now)
      end

      def before_or_within
        @response.empty? ? "before the" : "within the"
      end

      def answered(now)
        unless @response.keep_alive?
          @tally.closed
          close
        end
        return fail_with("status #{@response.status}", now, broken: false) unless @response.status == 200

        @tally.answered(now - @since, @response.body)
        rest(now, @interval)
      end

      def fail_with(kind, now, broken: true)
        close if broken
        @tally.failed(kind, now)
        rest(now, [@interval, PAUSE].max)
      end

      def rest(now, pause)
        @state = :resting
        @due = [@since + pause, now].max
      end

      def name_of(error)
        error.class.name[/\w+\z/]
      end
    end
  end
end
