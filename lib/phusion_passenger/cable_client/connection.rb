# frozen_string_literal: true

require "socket"
require_relative "frames"

module PhusionPassenger
  class CableClient
    # A connection to the broker that has been greeted. It is used either by one thread at a time that asks and waits for the
    # answer, or by any number of threads that write and one that listens.
    class Connection
      # Seconds within which the broker takes a connection, and answers
      GREETING = 5
      # Seconds within which it takes a frame, and within which it answers. It may hold up those who publish for five seconds
      # while a slow process catches up.
      WRITING = 10
      ANSWERING = 10
      CHUNK = 65_536
      # What fits into sockaddr_un with its final NUL
      LONGEST_ADDRESS = 107

      # Yields the connection before it is used.
      def self.open(path)
        deadline = now + GREETING
        socket = connect(path, deadline)
        new(socket).tap do |connection|
          yield connection if block_given?
          connection.greet(deadline)
        rescue StandardError
          connection.close
          raise
        end
      end

      def self.now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

      # A path that is too long for an address is reached through a descriptor of its directory.
      def self.connect(path, deadline)
        return connect_to(path, deadline) if path.bytesize <= LONGEST_ADDRESS

        File.open(File.dirname(path)) { |directory| connect_to("/proc/self/fd/#{directory.fileno}/#{File.basename(path)}", deadline) }
      end

      def self.connect_to(address, deadline)
        socket = Socket.new(:UNIX, :STREAM)
        begin
          socket.connect_nonblock(Socket.sockaddr_un(address))
        rescue Errno::EAGAIN
          # A server that hangs has a queue of connections that fills up.
          raise Unavailable, "the server does not take the connection" if now > deadline

          sleep(0.05)
          retry
        end
        socket
      rescue StandardError
        socket&.close
        raise
      end
      private_class_method :connect, :connect_to

      def initialize(socket)
        @socket = socket
        @writing = Mutex.new
        @frames = Frames::Reader.new
      end

      # The user that runs the broker, as the kernel says.
      def peer_uid = @socket.getsockopt(:SOCKET, :PEERCRED).unpack("i3")[1]

      def greet(deadline)
        write(Frames.encode(Frames::HELLO, Frames::VERSION, "", "#{$PROGRAM_NAME} (#{Process.pid})".b))
        answer(deadline) # a hello: nothing else comes before there is a subscription
      rescue Error => e
        raise Unavailable, e.message
      end

      # Returns when the broker has done what a frame with that number says. Raises Lost if it has not got the frame.
      def ask(number, frame)
        write(frame)
        until answer(Connection.now + ANSWERING) == number
          # The answer to one that nobody waits for any more
        end
      end

      # Whether the broker has closed the connection, or sent what nobody has asked for.
      def ended?
        @socket.read_nonblock(1, exception: false) != :wait_readable
      rescue IOError, SystemCallError
        true
      end

      # Yields every frame; returns when the connection has ended.
      def listen(&block)
        buffer = String.new(encoding: Encoding::BINARY)
        loop { @frames.feed(@socket.readpartial(CHUNK, buffer), &block) }
      rescue IOError, SystemCallError
        nil
      end

      # Returns when the kernel has all of it. A connection that has got only a part is of no use any more.
      def write(bytes)
        @writing.synchronize do
          deadline = nil
          until bytes.empty?
            written = @socket.write_nonblock(bytes, exception: false)
            if written == :wait_writable
              wait_writable(deadline ||= Connection.now + WRITING)
            else
              bytes = bytes.byteslice(written..)
            end
          end
        end
      rescue IOError, SystemCallError => e
        raise Lost, "the connection to the server has ended (#{e.message})"
      end

      # Ends it for both sides, also where a process that was forked from this one has it, too.
      def close
        @socket.shutdown(:RDWR) unless @socket.closed?
      rescue IOError, SystemCallError
        nil # the other side has ended it
      ensure
        @socket.close
      end

      # For a process that was forked from the one whose connection it is
      def abandon = @socket.close

      private

      # The number of the next frame that comes
      def answer(deadline)
        number = nil
        until number
          @frames.feed(read_before(deadline)) do |kind, its_number, _channel, message|
            raise Error, message.force_encoding(Encoding::UTF_8).scrub if kind == Frames::FAILURE

            number = its_number
          end
        end
        number
      end

      def read_before(deadline)
        while (bytes = @socket.read_nonblock(CHUNK, exception: false)) == :wait_readable
          left = deadline - Connection.now
          raise Error, "the server does not answer" if left.negative? || !IO.select([@socket], nil, nil, left)
        end
        bytes or raise Error, "the server has closed the connection without an answer"
      rescue IOError, SystemCallError => e
        raise Error, "the connection to the server has ended without an answer (#{e.message})"
      end

      def wait_writable(deadline)
        left = deadline - Connection.now
        return if left.positive? && IO.select(nil, [@socket], nil, left)

        close
        raise Lost, "the server has taken nothing for #{WRITING} seconds"
      end
    end
  end
end
