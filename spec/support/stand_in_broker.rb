# frozen_string_literal: true

require "socket"
require_relative "../../lib/phusion_passenger/cable_client"

module Harness
  # The other side of a CableClient, driven by a spec frame by frame. It acknowledges what asks for it, unless it is told not to.
  class StandInBroker
    Frames = PhusionPassenger::CableClient::Frames
    Frame = Struct.new(:kind, :number, :channel, :message)

    attr_reader :path, :connections, :frames
    attr_accessor :acknowledging, :greeting

    def initialize(path)
      @path = path
      @frames = Thread::Queue.new
      @connections = []
      @acknowledging = true
      @lock = Mutex.new
      @greeting = Frames.encode(Frames::HELLO, Frames::VERSION, "")
      start
    end

    def start
      FileUtils.rm_f(path)
      @server = UNIXServer.new(path)
      @acceptor = Thread.new { accept(@server) }
    end

    # Ends the listening and all connections.
    def stop
      @server.close
      @acceptor.join
      @connections.each { |socket| socket.close unless socket.closed? }
      @connections.clear
      File.unlink(path)
    end

    def send_frame(kind, number = 0, channel = "", message = "", to: @connections.last)
      write(to, Frames.encode(kind, number, channel.b, message.b))
    end

    def message(channel, message, **rest) = send_frame(Frames::MESSAGE, 0, channel, message, **rest)

    def acknowledge(frame, **rest) = send_frame(Frames::DONE, frame.number, **rest)

    # The next frame that a client has sent, its hello not counted.
    def next_frame
      Harness.eventually("a frame") { !@frames.empty? }
      @frames.pop
    end

    private

    def accept(server)
      loop do
        socket = server.accept
        @connections << socket
        Thread.new { serve(socket) }
      end
    rescue IOError
      nil
    end

    def serve(socket)
      reader = Frames::Reader.new
      loop do
        reader.feed(socket.readpartial(65_536)) { |*parts| obey(Frame.new(*parts), socket) }
      end
    rescue IOError, SystemCallError
      @lock.synchronize { socket.close }
    end

    # Not while the other thread closes it, because what was written has made the client leave
    def write(socket, bytes) = @lock.synchronize { socket.write(bytes) }

    def obey(frame, socket)
      return write(socket, greeting) if frame.kind == Frames::HELLO

      @frames << frame
      acknowledge(frame, to: socket) if acknowledging && !frame.number.zero?
    end
  end
end
