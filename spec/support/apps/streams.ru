# frozen_string_literal: true

# Responses that are sent piece by piece, and what the application learns of their clients. Each piece waits for its gate, a
# file that the spec makes.

require "json"
require "rack"

module Streams
  DIRECTORY = __dir__
  EVENTS = { "content-type" => "text/event-stream", "cache-control" => "no-cache" }.freeze
  PIECE = "x" * 65_536

  module_function

  # Tells the specs what has happened, also when no response can.
  def record(line)
    File.write(File.join(DIRECTORY, "records"), "#{line}\n", mode: "a")
  end

  def pass(gate)
    sleep 0.002 until File.exist?(File.join(DIRECTORY, "gate-#{gate}"))
  end

  # Three pieces, the second and third behind their gates.
  def pieces(gate)
    yield "one "
    pass("#{gate}-2")
    yield "two "
    pass("#{gate}-3")
    yield "three"
  end

  # Records what becomes of it.
  def watched(name)
    yield
    record("#{name} has ended")
  rescue IOError => e
    record("#{name} got #{e.class}")
    raise
  end

  # Pieces without end, counted.
  def endless
    sent = 0
    loop do
      yield PIECE
      sent += PIECE.bytesize
      File.write(File.join(DIRECTORY, "sent"), sent.to_s)
    end
  end
end

# A body that can be closed.
class Body
  def initialize(name, &each)
    @name = name
    @each = each
  end

  def each(&block) = @each.call(block)
  def close = Streams.record("#{@name} closed")
end

# A body that waits for events and can be told not to.
class Subscription < Body
  def initialize(name)
    super
    @events = Thread::Queue.new
  end

  def each
    yield "hello\n"
    while (event = @events.pop)
      yield event
    end
    Streams.record("#{@name} has ended")
  end

  def abort
    Streams.record("#{@name} aborted")
    @events.close
  end
end

CHUNKED = ->(piece) { "#{piece.bytesize.to_s(16)}\r\n#{piece}\r\n" }

run(lambda do |env|
  query = Rack::Utils.parse_query(env["QUERY_STRING"])
  gate = query["gate"]
  case env["PATH_INFO"]
  when "/enumerator" then [200, { "content-type" => "text/plain" }, Enumerator.new { |y| Streams.pieces(gate) { |piece| y << piece } }]
  when "/length" then [200, { "content-length" => "13" }, Enumerator.new { |y| Streams.pieces(gate) { |piece| y << piece } }]
  when "/events" then [200, Streams::EVENTS, Enumerator.new { |y| Streams.pieces(gate) { |piece| y << piece } }]
  when "/silent-events"
    [200, Streams::EVENTS, Enumerator.new do |y|
      Streams.pass(gate)
      y << "data: 1\n\n"
    end]
  when "/stream"
    [200, {}, lambda do |stream|
      Streams.pieces(gate) { |piece| stream.write(piece) }
      stream.close
    end]
  when "/stream-in-thread"
    [200, {}, lambda do |stream|
      Thread.new do
        Streams.pieces(gate) { |piece| stream.write(piece) }
        stream.close
      end
    end]
  when "/partial"
    [200, { "rack.hijack" => lambda do |socket|
      Streams.pieces(gate) { |piece| socket.write(piece) }
      socket.close
    end }, []]
  when "/chunked"
    [200, { "Transfer-Encoding" => "chunked", "Trailer" => "X-Checksum" }, Enumerator.new do |y|
      Streams.pieces(gate) { |piece| y << CHUNKED[piece] }
      y << "0\r\nX-Checksum: 1\r\n\r\n"
    end]
  when "/bodiless"
    [query["status"].to_i, {}, Body.new("bodiless") { Streams.record("bodiless iterated") }]
  when "/bodiless-stream"
    [query["status"].to_i, {}, ->(_stream) { Streams.record("bodiless called") }]

  # What an application learns of a client that has gone
  when "/learns/each" # at its next write; then it is closed
    body = Body.new("each") do |block|
      Streams.watched("each") do
        block.call("hello\n")
        Streams.pass(gate)
        block.call("nobody\n")
      end
    end
    body.define_singleton_method(:abort) { Streams.record("each told") }
    env["rack.response_finished"]&.push(->(_env, _status, _headers, error) { Streams.record("each finished with #{error.class}") })
    [200, {}, body]
  when "/learns/abort" then [200, {}, Subscription.new("subscription")]
  when "/learns/wrapped-abort"
    [200, {}, Rack::BodyProxy.new(Subscription.new("subscription")) { Streams.record("proxy closed") }]
  when "/learns/stream" # closed? at once, and what waits for the end of the response
    [200, {}, lambda do |stream|
      stream.write("hello\n")
      sleep 0.002 until stream.closed?
      Streams.record("stream closed")
      begin
        stream.read
      rescue IOError
        Streams.record("stream cannot be read")
      end
      Streams.watched("stream") { stream.write("nobody\n") }
    end]
  when "/learns/thread" # the slot is free although the thread has not written
    [200, {}, lambda do |stream|
      Thread.new do
        stream.write("hello\n")
        Streams.pass(gate)
        Streams.watched("thread") { stream.write("nobody\n") }
      rescue IOError
        nil
      end
    end]
  when "/learns/busy" # writes all the time
    [200, {}, Enumerator.new do |y|
      Streams.watched("busy") do
        loop do
          y << "tick\n"
          sleep 0.001
        end
      end
    end]

  when "/endless" then [200, {}, Enumerator.new { |y| Streams.watched("endless") { Streams.endless { |piece| y << piece } } }]
  when "/endless-events"
    [200, Streams::EVENTS, Enumerator.new { |y| Streams.watched("endless") { Streams.endless { |piece| y << piece } } }]
  when "/endless-unbuffered"
    [200, { "x-accel-buffering" => "no" }, Enumerator.new { |y| Streams.watched("endless") { Streams.endless { |piece| y << piece } } }]

  when "/hints"
    hints = env["rack.early_hints"]
    Streams.record("hints #{hints ? "offered" : "not offered"}")
    hints&.call("link" => ["</a.css>; rel=preload; as=style", "</b.js>; rel=preload; as=script"])
    hints&.call("Link" => "</c.css>; rel=preload\n</d.css>; rel=preload", "X-Number" => "2") if query["twice"]
    Streams.pass(gate) if gate
    [200, { "content-type" => "text/plain", **(query["public"] ? { "cache-control" => "public, max-age=60" } : {}) }, ["hinted " * 200]]
  when "/late-hints"
    hints = env["rack.early_hints"]
    [200, {}, Enumerator.new do |y|
      y << "begun "
      hints&.call("link" => "</late>")
      y << "ended"
    end]
  when "/bad-hints"
    env["rack.early_hints"]&.call("link" => "</a>\r\nX-Injected: yes")
    [200, {}, ["fine"]]
  when "/many-hints"
    20.times { |number| env["rack.early_hints"]&.call("link" => "</#{number}>") }
    [200, {}, ["many"]]
  when "/die-after-hints"
    env["rack.early_hints"].call("link" => "</a>")
    Process.kill(:KILL, Process.pid)
    sleep
  else [200, { "content-type" => "text/plain" }, ["hello"]]
  end
end)
