# frozen_string_literal: true

require "socket"

module Harness
  # A response as it came over the wire: header names in lower case, repeated ones all kept.
  HTTPResponse = Struct.new(:version, :status, :reason, :header_lines, :body, :framing, :trailers, :informational,
                            keyword_init: true) do
    def [](name)
      all(name).first
    end

    def all(name)
      header_lines.filter_map { |key, value| value if key == name.downcase }
    end

    def json
      JSON.parse(body)
    end

    def inspect
      "#<#{version} #{status} #{reason} #{header_lines.inspect} #{body.to_s[0, 300].inspect}>"
    end
  end

  # A client that sends exactly the bytes it is told to and reads responses strictly: a response that could be read in
  # two ways is an error, since that is what the specs are looking for.
  class HTTPClient
    class ProtocolError < StandardError; end
    class ConnectionEnded < StandardError; end

    CHUNK = 262_144
    LONGEST_LINE = 65_536
    BODILESS = [204, 304].freeze

    attr_reader :socket

    def self.open(address, **options)
      client = new(address, **options)
      return client unless block_given?

      begin
        yield client
      ensure
        client.close
      end
    end

    # address: [host, port] or the path of a Unix socket
    def initialize(address, within: Deadline::DEFAULT_SECONDS, receive_buffer: nil)
      @within = within
      @buffer = +"".b
      @at_end = false
      @socket = connect(address, receive_buffer)
    end

    def write(*pieces)
      deadline = Deadline.new(@within)
      pieces.each do |piece|
        rest = piece.b
        until rest.empty?
          written = @socket.write_nonblock(rest, exception: false)
          if written == :wait_writable
            deadline.check!("the server's reading of #{rest.bytesize} bytes") unless @socket.wait_writable(deadline.left)
          else
            rest = rest.byteslice(written..)
          end
        end
      end
      self
    rescue Errno::EPIPE, Errno::ECONNRESET => error
      raise ConnectionEnded, "the server stopped reading (#{error.class})"
    end

    # For requests that the server may refuse before it has read all of them: the answer is what counts.
    def offer(*pieces)
      write(*pieces)
    rescue ConnectionEnded
      self
    end

    # Headers are given by their names ("Host" => "x"); an Array is a header that is sent several times.
    def request(method, target, body: nil, version: "1.1", **headers)
      lines = headers.flat_map { |name, value| Array(value).map { |one| "#{name}: #{one}\r\n" } }
      lines.unshift("Host: localhost\r\n") unless version == "1.0" || names?(headers, "host")
      lines << "Content-Length: #{body.bytesize}\r\n" if body && !names?(headers, "content-length")
      write("#{method} #{target} HTTP/#{version}\r\n#{lines.join}\r\n", body || "")
    end

    def get(target, **rest)
      request("GET", target, **rest)
      read_response
    end

    def head(target, **rest)
      request("HEAD", target, **rest)
      read_response(to: "HEAD")
    end

    def post(target, body, **rest)
      request("POST", target, body: body, **rest)
      read_response
    end

    # With a block the body is handed over piece by piece instead of being collected.
    def read_response(to: "GET", &sink)
      informational = []
      loop do
        version, status, reason = read_status_line
        header_lines = read_headers
        if status < 200
          informational << status
          next unless status == 101
        end
        response = HTTPResponse.new(version: version, status: status, reason: reason, header_lines: header_lines,
                                    trailers: [], informational: informational, body: +"".b)
        read_body(response, to, &sink)
        return response
      end
    end

    # The status of a response whose body is to be read otherwise.
    def read_response_head
      read_status_line[1].tap { read_headers }
    end

    def read_status_line
      line = read_line
      match = %r{\A(HTTP/1\.[01]) (\d{3}) ?(.*)\z}.match(line)
      raise ProtocolError, "not a status line: #{line.inspect}" unless match

      [match[1], match[2].to_i, match[3]]
    end

    def read_headers
      headers = []
      until (line = read_line).empty?
        match = /\A([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*\z/n.match(line)
        raise ProtocolError, "not a header line: #{line.inspect}" unless match

        headers << [match[1].downcase, match[2]]
      end
      headers
    end

    def read_line
      until (at = @buffer.index("\n"))
        raise ProtocolError, "line without end: #{@buffer[0, 200].inspect}" if @buffer.bytesize > LONGEST_LINE
        raise ConnectionEnded, "the connection ended in the middle of #{@buffer.inspect}" unless fill
      end
      line = @buffer.slice!(0..at)
      raise ProtocolError, "line not ended by CR LF: #{line.inspect}" unless line.end_with?("\r\n")

      line.chomp("\r\n")
    end

    def read_exactly(length)
      raise ConnectionEnded, "the connection ended #{length - @buffer.bytesize} bytes early" unless buffered?(length)

      @buffer.slice!(0, length)
    end

    # True when the server closes the connection and has sent nothing more.
    def ended?
      @buffer.empty? && !fill
    end

    # Has the server closed the connection by now? Looks for a moment only.
    def ended_already?(wait = 0.05)
      stray_bytes(wait)
      @at_end
    end

    # Everything up to the end of the connection.
    def read_to_end
      nil while fill
      @buffer.slice!(0..)
    end

    # Bytes that are there although nobody asked for them. Looks for a moment only.
    def stray_bytes(wait = 0.05)
      deadline = Deadline.new(1) # a stream may never pause
      fill_now while @socket.wait_readable(wait) && !@at_end && !deadline.passed?
      @buffer.dup
    end

    def local_port
      @socket.local_address.ip_port
    end

    def half_close
      @socket.close_write
    end

    def close
      @socket.close unless @socket.closed?
    end

    # Ends the connection with a reset, as a client that vanishes.
    def reset
      @socket.setsockopt(Socket::SOL_SOCKET, Socket::SO_LINGER, [1, 0].pack("ii"))
      @socket.close
    end

    private

    def names?(headers, name)
      headers.any? { |key, _| key.to_s.casecmp?(name) }
    end

    def connect(address, receive_buffer)
      return UNIXSocket.new(address) if address.is_a?(String)

      host, port = address
      remote = Addrinfo.tcp(host, port)
      socket = Socket.new(remote.afamily, Socket::SOCK_STREAM, 0)
      # The window is settled by the time of the handshake: a small one has to be asked for before it.
      socket.setsockopt(Socket::SOL_SOCKET, Socket::SO_RCVBUF, receive_buffer) if receive_buffer
      socket.connect(remote)
      socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      socket
    end

    def read_body(response, method, &sink)
      chunked = response.all("transfer-encoding")
      lengths = response.all("content-length")
      raise ProtocolError, "several lengths: #{lengths}" if lengths.size > 1
      raise ProtocolError, "both Transfer-Encoding and Content-Length" if chunked.any? && lengths.any?

      sink ||= ->(piece) { response.body << piece }
      response.framing =
        if method == "HEAD" || BODILESS.include?(response.status) || response.status < 200 then :none
        elsif chunked.any? then read_chunked(response, chunked, sink)
        elsif lengths.any? then read_length(lengths.first, sink)
        else read_until_close(sink)
        end
    end

    def read_chunked(response, codings, sink)
      raise ProtocolError, "unknown transfer coding #{codings}" unless codings == ["chunked"]

      loop do
        size = read_line[/\A\h+/] or raise ProtocolError, "not a chunk size"
        break if size.hex.zero?

        stream(size.hex, sink)
        raise ProtocolError, "a chunk is not followed by CR LF" unless read_exactly(2) == "\r\n"
      end
      response.trailers = read_headers
      :chunked
    end

    def read_length(value, sink)
      raise ProtocolError, "not a length: #{value.inspect}" unless value.match?(/\A\d+\z/)

      stream(value.to_i, sink)
      :length
    end

    def read_until_close(sink)
      loop do
        sink.call(@buffer.slice!(0..)) unless @buffer.empty?
        break unless fill
      end
      :close
    end

    def stream(left, sink)
      while left.positive?
        raise ConnectionEnded, "the connection ended #{left} bytes early" if @buffer.empty? && !fill

        piece = @buffer.slice!(0, left)
        left -= piece.bytesize
        sink.call(piece)
      end
    end

    def buffered?(length)
      while @buffer.bytesize < length
        return false unless fill
      end
      true
    end

    # Reads what has come; false at the end of the connection.
    def fill
      return false if @at_end

      deadline = Deadline.new(@within)
      deadline.check!("an answer of the server") until @socket.wait_readable(deadline.left) || deadline.passed?
      raise DeadlineExceeded, "no byte from the server within #{@within} s" if deadline.passed?

      fill_now
    end

    def fill_now
      piece = @socket.read_nonblock(CHUNK, exception: false)
      return true if piece == :wait_readable

      @at_end = true if piece.nil?
      @buffer << piece if piece
      !@at_end
    rescue Errno::ECONNRESET
      @at_end = true
      false
    end
  end
end
