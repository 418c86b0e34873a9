# frozen_string_literal: true

# An application that the specs hold and let go: /hold answers when the spec has made the file that it waits for, so that
# nothing depends on how long something takes.

require "json"
require "rack"
require "rack/lint"

class Control
  DIRECTORY = __dir__
  # Read once, when the application is loaded: tells which code a worker runs.
  VERSION = File.exist?(File.join(DIRECTORY, "version")) ? File.read(File.join(DIRECTORY, "version")) : "none"
  PIECE = "x" * 65_536

  def call(env)
    query = Rack::Utils.parse_query(env["QUERY_STRING"])
    case env["PATH_INFO"]
    when "/pid" then text(Process.pid.to_s)
    when "/version" then text(VERSION)
    when "/hold" then hold(query.fetch("gate"))
    when "/hold-body" then [200, {}, HeldBody.new(query.fetch("gate"))]
    when "/raise" then raise ArgumentError, query.fetch("message")
    when "/raise-fatal" then raise NotImplementedError, query.fetch("message")
    when "/exit" then exit(3)
    when "/die" then Process.kill(:KILL, Process.pid) && sleep
    when "/thread" then text(Thread.current.object_id.to_s)
    when "/say" then say(query.fetch("text"), env["rack.errors"])
    when "/descriptors" then text(JSON.generate(Dir.children("/proc/self/fd").size))
    when "/download" then [200, { "content-length" => query["size"] }, Pieces.new(query["size"].to_i)]
    when "/blob" then text("y" * query["size"].to_i)
    when "/upload" then text(count(env["rack.input"]).to_s)
    when "/file" then [200, {}, Sent.new(File.join(DIRECTORY, query.fetch("name")))]
    else text("#{env["REQUEST_METHOD"]} #{env["PATH_INFO"]}")
    end
  end

  def self.enter(gate)
    File.write(File.join(DIRECTORY, "entered-#{gate}"), "#{Process.pid}\n", mode: "a")
    sleep 0.01 until File.exist?(File.join(DIRECTORY, "gate-#{gate}"))
  end

  class HeldBody < Struct.new(:gate)
    def each
      yield "begun "
      Control.enter(gate)
      yield "and finished"
    end
  end

  class Pieces < Struct.new(:size)
    def each
      left = size
      while left.positive?
        piece = left >= PIECE.bytesize ? PIECE : PIECE.byteslice(0, left)
        yield piece
        left -= piece.bytesize
      end
    end
  end

  class Sent < Struct.new(:to_path)
    def each
      raise "the file is there to be sent, not to be read"
    end
  end

  private

  def text(string)
    [200, { "content-type" => "text/plain", "content-length" => string.bytesize.to_s }, [string]]
  end

  def hold(gate)
    Control.enter(gate)
    text("held by #{Process.pid}")
  end

  def say(text, errors)
    $stdout.puts "stdout #{text}"
    $stderr.puts "stderr #{text}"
    errors.puts "rack.errors #{text}"
    text("said")
  end

  def count(input)
    size = 0
    buffer = +""
    size += buffer.bytesize while input.read(65_536, buffer)
    size
  end
end

plain = Control.new
checked = Rack::Lint.new(plain)
# Rack 2's Lint hides to_path.
run ->(env) { (env["PATH_INFO"] == "/file" ? plain : checked).call(env) }
