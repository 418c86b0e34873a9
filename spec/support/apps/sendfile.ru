# frozen_string_literal: true

# Answers with files in every way there is. The request says how, as JSON in the query: {"how", "path", "status", "headers"}.

require "json"
require "rack"
require "tempfile"

class Sendfile
  CLOSED = File.join(__dir__, "closed")

  # A body that is a file. Whoever can send files need not read it.
  class FileBody < Struct.new(:to_path)
    def each
      File.open(to_path, "rb") { |file| (piece = file.read(65_536)) ? yield(piece) : break while true }
    end

    def close
      File.write(CLOSED, "#{to_path}\n", mode: "a")
    end
  end

  # As apps do that build an archive for one download.
  class Temporary < FileBody
    def initialize(content)
      @file = Tempfile.new("download", binmode: true)
      @file.write(content)
      @file.flush
      super(@file.path)
    end

    def close
      @file.close!
      super
    end
  end

  def call(env)
    return [200, { "content-type" => "application/json" }, [JSON.generate(known(env))]] if env["PATH_INFO"] == "/env"

    wanted = JSON.parse(Rack::Utils.unescape(env["QUERY_STRING"]))
    headers = wanted.fetch("headers", {})
    [wanted.fetch("status", 200), headers.merge(header(wanted)), body(wanted)]
  end

  private

  def known(env)
    env.select { |key, _| key.match?(/sendfile|accel/i) }
  end

  def header(wanted)
    case wanted["how"]
    when "X-Sendfile" then { "X-Sendfile" => wanted["path"] }
    when "x-sendfile" then { "x-sendfile" => wanted["path"] }
    when "X-Accel-Redirect" then { "X-Accel-Redirect" => wanted["path"] }
    else {}
    end
  end

  def body(wanted)
    case wanted["how"]
    when "to_path" then FileBody.new(wanted["path"])
    when "temporary" then Temporary.new("t" * wanted["size"])
    else ["the application's own body"]
    end
  end
end

use Rack::Sendfile if ENV["WITH_RACK_SENDFILE"]
run Sendfile.new
