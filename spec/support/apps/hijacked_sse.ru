# frozen_string_literal: true

# Server-sent events for any number of listeners, with one thread for all of them: each connection is taken over from the
# server, so that none holds a request thread. GET /events listens, POST /events sends its body to all who listen.
class Events
  HEADERS = { "content-type" => "text/event-stream", "cache-control" => "no-cache" }.freeze

  def initialize
    @lock = Mutex.new
    @listeners = []
  end

  def call(env)
    case [env["REQUEST_METHOD"], env["PATH_INFO"]]
    when %w[GET /events]
      # The server sends the head, then calls the lambda with the connection; the request is over when that returns.
      [200, HEADERS.merge("rack.hijack" => ->(socket) { add(socket) }), []]
    when %w[POST /events]
      publish(env["rack.input"].read)
      [204, {}, []]
    else
      [200, { "content-type" => "text/plain" }, ["hello"]]
    end
  end

  private

  def add(socket)
    @lock.synchronize do
      @listeners << socket
      @watcher ||= Thread.new { watch } # not earlier: threads do not survive the fork of this process
    end
  end

  def publish(text)
    event = "#{text.lines.map { |line| "data: #{line.chomp}\n" }.join}\n"
    @lock.synchronize { @listeners.dup }.each do |socket|
      # A listener that is so far behind that its connection is full is dropped; the browser connects again.
      drop(socket) unless socket.write_nonblock(event, exception: false) == event.bytesize
    rescue SystemCallError, IOError
      drop(socket)
    end
  end

  # Listeners send nothing: what can be read is the end.
  def watch
    loop do
      ended, = IO.select(@lock.synchronize { @listeners.dup }, nil, nil, 1)
      ended&.each { |socket| drop(socket) }
    rescue IOError
      next # one of them has been dropped meanwhile
    end
  end

  def drop(socket)
    @lock.synchronize { @listeners.delete(socket) }
    socket.close
  end
end

run Events.new
