# frozen_string_literal: true

require "socket"

module Bench
  module Pool
    # Many clients, one after the other and many at once, each of which connects, sends a request, waits a little and hangs up: half of
    # them politely (FIN), half of them at once and for all (RST).
    class Crowd
      # So many at the same time.
      AT_ONCE = 500
      # For a connection, in seconds. A server whose backlog is full lets clients wait for it.
      CONNECT = 0.5

      attr_reader :sent, :unconnected

      def self.request(server, path)
        "GET #{path} HTTP/1.1\r\nHost: #{server.launch.host}\r\n\r\n"
      end

      def initialize(server, path, count, patience)
        @address = Socket.sockaddr_in(server.launch.port, server.launch.host)
        @request = self.class.request(server, path)
        @count = count
        @patience = patience
        @sent = @unconnected = 0
      end

      def run
        @count.times.each_slice(AT_ONCE) do |slice|
          sockets = slice.filter_map { open }
          sent = await(sockets).count { |socket| ask(socket) }
          @unconnected += slice.size - sent
          @sent += sent
          sleep @patience
          leave(sockets)
        end
        self
      end

      private

      def open
        socket = Socket.new(Socket::AF_INET, Socket::SOCK_STREAM)
        socket.connect_nonblock(@address, exception: false)
        socket
      rescue Errno::ECONNREFUSED
        socket.close
        nil
      end

      def await(sockets)
        deadline = Clock.now + CONNECT
        connected = []
        until (connecting = sockets - connected).empty?
          _, ready, = IO.select(nil, connecting, nil, [deadline - Clock.now, 0].max)
          return connected unless ready

          connected.concat(ready)
        end
        connected
      end

      # False: it was writable because the connection had failed.
      def ask(socket)
        socket.write(@request)
        true
      rescue SystemCallError
        false
      end

      def leave(sockets)
        sockets.each_with_index do |socket, index|
          socket.setsockopt(Socket::Option.linger(true, 0)) if index.odd?
          socket.close
        end
      end
    end
  end
end
