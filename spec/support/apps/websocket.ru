# frozen_string_literal: true

require "websocket/driver"

# What websocket-driver's own documentation has for servers: the driver parses and writes, the application moves the bytes.
class Conversation
  attr_reader :env, :url

  def initialize(env)
    @env = env
    @url = "ws://#{env["HTTP_HOST"]}#{env["PATH_INFO"]}"
    @io = env["rack.hijack"].call
    @driver = WebSocket::Driver.rack(self)
    @driver.on(:message) { |event| @driver.text(event.data.upcase) }
    @driver.on(:close) { @io.close_write }
    @driver.start
    Thread.new { read }
  end

  def write(bytes) = @io.write(bytes)

  private

  def read
    while IO.select([@io])
      piece = @io.read_nonblock(4096, exception: false)
      break if piece.nil?

      @driver.parse(piece) unless piece == :wait_readable
    end
  ensure
    @io.close
  end
end

run(lambda do |env|
  next [200, { "content-type" => "text/plain" }, ["no WebSocket"]] unless WebSocket::Driver.websocket?(env)

  Conversation.new(env)
  [-1, {}, []]
end)
