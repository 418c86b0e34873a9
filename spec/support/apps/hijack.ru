# frozen_string_literal: true

require "digest"

# Applications that take the client's connection over. Every socket is served by a thread of its own.
class Hijacker
  SWITCHING = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"

  def initialize
    @open = 0
    @written = 0
    @lock = Mutex.new
  end

  def call(env)
    query = env["QUERY_STRING"].split("&").to_h { |pair| pair.split("=", 2) }
    case env["PATH_INFO"]
    when "/echo" then take_over(env) { |io| echo(io) }
    when "/in-call" then in_call(env)
    when "/both" then take_over(env) { |io| both(io, query["size"].to_i) }
    when "/flood" then take_over(env) { |io| flood(io, query["size"].to_i) }
    when "/answer-after-end" then take_over(env) { |io| io.write("read #{io.read.bytesize} bytes") }
    when "/end-first" then take_over(env) { |io| end_first(io) }
    when "/body" then hijack_with_body(env)
    when "/partial" then partial("hello")
    when "/later" then later
    when "/figures" then text("#{Process.pid} #{@open} #{@written}")
    else text("ordinary")
    end
  end

  private

  def text(body) = [200, { "content-type" => "text/plain" }, [body]]

  def take_over(env)
    io = env["rack.hijack"].call
    Thread.new { serve(io) { yield io } }
    [-1, {}, []]
  end

  def serve(io)
    @lock.synchronize { @open += 1 }
    io.write(SWITCHING)
    yield
  rescue EOFError, Errno::EPIPE, Errno::ECONNRESET
    # The client has gone.
  ensure
    io.close
    @lock.synchronize { @open -= 1 }
  end

  def echo(io)
    loop { io.write(io.readpartial(65_536)) }
  end

  # The connection is used up before the request returns, as applications without threads do it.
  def in_call(env)
    io = env["rack.hijack"].call
    serve(io) { echo(io) }
    nil
  end

  def both(io, size)
    writer = Thread.new do
      bytes = Random.new(2).bytes(size)
      io.write(bytes)
      io.close_write
      Digest::SHA256.hexdigest(bytes)
    end
    digest = Digest::SHA256.new
    count = 0
    while (piece = io.read(1_048_576))
      digest << piece
      count += piece.bytesize
    end
    File.write("received", "#{count} #{digest.hexdigest} #{writer.value}")
  end

  def flood(io, size)
    piece = "x" * 65_536
    while @written < size
      io.write(piece)
      @written += piece.bytesize
    end
  end

  def end_first(io)
    io.write("the end of the application")
    io.close_write
    File.write("received", io.read)
  end

  def hijack_with_body(env)
    body = env["rack.input"].read
    take_over(env) { |io| io.write("#{body.bytesize} #{io.readpartial(100)}") }
  end

  def partial(body)
    writer = lambda do |io|
      io.write(body)
      io.close
    end
    [200, { "Content-Type" => "text/plain", "Cache-Control" => "public, max-age=60", "rack.hijack" => writer }, []]
  end

  def later
    writer = lambda do |io|
      Thread.new do
        io.write("later")
        io.close
      end
    end
    [200, { "Content-Type" => "text/plain", "rack.hijack" => writer }, []]
  end
end

run Hijacker.new
