# frozen_string_literal: true

module PhusionPassenger
  # env["rack.hijack"]: takes over the connection of its request. The extension makes one for each.
  class Hijack
    # The sockets that have been given to the application and may still be open
    @sockets = ObjectSpace::WeakMap.new
    @lock = Mutex.new

    class << self
      # Takes the connection over after the engine has sent status and headers (a partial hijack).
      def after_head(slot, status, headers)
        open(slot.hijack(slot.request_id, status, headers))
      end

      # The application's end of a connection. The socket library is loaded here and not earlier, so that the versions of
      # its default gems are those of the application's bundle.
      def open(descriptor)
        require "socket"
        make_room_beyond(descriptor)
        socket = UNIXSocket.for_fd(descriptor)
        @lock.synchronize { @sockets[socket] = true }
        socket
      end

      # How many connections the application still holds.
      def open_connections = sockets.size

      # Lets go of the connections in a process that was forked from the one that they belong to; there they stay open.
      def disown = sockets.each(&:close)

      # Calls the block, in another thread, when the application has closed all connections.
      def when_all_closed(interval: 0.1)
        Thread.new do
          Thread.current.name = "passenger hijacked connections"
          sleep(interval) until sockets.empty?
          yield
        end
      end

      # The value of the response header rack.hijack; nil if there is none.
      def callback(headers)
        headers.each { |name, value| return checked(value) if !value.nil? && name.to_s == "rack.hijack" }
        nil
      end

      private

      # A shell or a service manager usually gives a process 1024 descriptors, and lets it have more if it asks: the soft
      # limit is for programs that can't deal with more. Only processes that hold many connections ask.
      def make_room_beyond(descriptor)
        soft, hard = Process.getrlimit(:NOFILE)
        Process.setrlimit(:NOFILE, hard, hard) if soft < hard && descriptor > soft / 2
      end

      def sockets = @lock.synchronize { @sockets.keys }.reject(&:closed?)

      def checked(value)
        return value if value.respond_to?(:call)

        raise Native::InvalidResponse, "the response header rack.hijack is #{value.class}, which does not respond to call"
      end
    end

    # The socket; the same one each time. What the application returns for its response is ignored from now on. Raises
    # IOError when the request has been answered.
    def call
      @socket ||= Hijack.open(@slot.hijack(@request_id, nil, nil)).tap { |socket| @env["rack.hijack_io"] = socket }
    end

    def inspect = "#<#{self.class}#{" #{@socket.inspect}" if @socket}>"
  end
end
