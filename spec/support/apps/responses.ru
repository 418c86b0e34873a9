# frozen_string_literal: true

# Every kind of response. Paths below /broken/ do what Rack forbids and are therefore not wrapped in Rack::Lint; neither are
# those that only one of the two supported versions of Rack::Lint knows (callable bodies, to_path).

require "json"
require "rack"
require "rack/lint"

RECORDS = File.join(__dir__, "records")
CONTENT = "0123456789abcdef" * 1024 # 16 KiB
RACK_3 = Rack.release.to_i >= 3

# Tells the specs what has happened, also when no response can.
module Events
  def self.record(line)
    File.write(RECORDS, "#{line}\n", mode: "a")
  end
end

class Body
  def initialize(name, pieces, fail_after: nil, wait: nil)
    @name = name
    @pieces = pieces
    @fail_after = fail_after
    @wait = wait
  end

  def each
    @pieces.each_with_index do |piece, index|
      raise "the body #{@name} broke" if index == @fail_after

      yield piece
      sleep 0.01 until @wait.nil? || File.exist?(@wait)
    end
  end

  def close
    Events.record("closed #{@name}")
  end
end

# A body that is a file: whoever can send files need not read it.
class FileBody < Body
  attr_reader :to_path

  def initialize(name, path)
    super(name, [])
    @to_path = path
  end

  def each
    Events.record("each #{@name}")
    File.open(@to_path, "rb") { |file| (piece = file.read(65_536)) ? yield(piece) : break while true }
  end
end

PLAIN = { "content-type" => "text/plain" }.freeze

def plain(more = {})
  PLAIN.merge(more)
end

# Several values of one header, as the version of Rack has it.
def several(*values)
  RACK_3 ? values : values.join("\n")
end

def query(env)
  Rack::Utils.parse_query(env["QUERY_STRING"])
end

def lazily(count)
  Enumerator.new { |yielder| count.times { |number| yielder << "piece #{number}\n" } }
end

ALLOWED = {
  "/hello" => ->(_) { [200, plain, ["hello"]] },
  "/echo-method" => ->(env) { [200, plain, [env["REQUEST_METHOD"], " ", env["rack.input"]&.read.to_s]] },
  "/array" => ->(_) { [200, plain, %w[one two three]] },
  "/each" => ->(_) { [200, plain, Body.new("each", %w[one two three])] },
  "/each-with-length" => ->(_) { [200, plain("content-length" => "11"), Body.new("length", %w[one two three])] },
  "/each-with-empty-pieces" => ->(_) { [200, plain, Body.new("gaps", ["", "one", "", "two", ""])] },
  "/large-each" => ->(_) { [200, plain, Body.new("large-each", [CONTENT] * 200)] },
  "/large-array" => ->(_) { [200, plain, [CONTENT * 200]] },
  "/enumerator" => ->(_) { [200, plain, lazily(100)] },
  "/empty" => ->(_) { [200, plain, []] },
  "/empty-each" => ->(_) { [200, plain, Body.new("empty", [])] },
  "/no-content" => ->(_) { [204, { "x-kept" => "yes" }, []] },
  "/not-modified" => ->(_) { [304, { "etag" => '"v1"', "cache-control" => "no-cache" }, []] },
  "/redirect" => ->(_) { [302, plain("location" => "/elsewhere"), []] },
  "/status" => ->(env) { [query(env)["code"].to_i, plain, ["status #{query(env)["code"]}"]] },
  "/cookies" => ->(_) { [200, plain("set-cookie" => several("a=1; path=/", "b=2; HttpOnly")), ["cookies"]] },
  "/links" => ->(_) { [200, plain("link" => several("</a>; rel=prev", "</b>; rel=next")), ["links"]] },
  "/many-headers" => ->(_) { [200, plain((1..200).to_h { |n| ["x-number-#{n}", "v" * 100] }), ["many"]] },
  "/date" => ->(_) { [200, plain("date" => "Sun, 06 Nov 1994 08:49:37 GMT"), ["dated"]] },
  "/head-length" => ->(env) { [200, plain("content-length" => "5"), env["REQUEST_METHOD"] == "HEAD" ? [] : ["12345"]] },
  "/raise" => ->(_) { raise ArgumentError, "the application has a problem" },
  "/finished" => lambda { |env|
    return [200, plain, ["none"]] unless env["rack.response_finished"]

    env["rack.response_finished"] << lambda { |given, status, headers, error|
      Events.record("finished #{given.equal?(env)} #{status} #{headers && headers["x-mark"]} #{error.class}")
    }
    env["rack.response_finished"] << ->(*) { Events.record("finished last, called first") }
    [200, plain("x-mark" => "marked"), ["some"]]
  },
  "/after-reply" => lambda { |env|
    (env["rack.after_reply"] or return [200, plain, ["none"]]) << -> { Events.record("after reply") }
    [200, plain, ["some"]]
  }
}.freeze

CALLABLE = lambda do |*pieces|
  lambda do |stream|
    pieces.each { |piece| stream.write(piece) }
  ensure
    stream.close
    Events.record("stream closed")
  end
end

UNCHECKED = {
  # Rack 2's Lint hides from the server that the body is an Array.
  "/bare-array" => ->(_) { [200, plain, %w[one two three]] },
  "/bare-unicode" => ->(_) { [200, plain("content-type" => "text/plain; charset=utf-8"), ["Grüße"]] },
  "/stream" => ->(_) { [200, plain, CALLABLE.call("one", "two", "three")] },
  "/stream-with-length" => ->(_) { [200, plain("content-length" => "6"), CALLABLE.call("one", "two")] },
  "/stream-operators" => lambda { |_|
    [200, plain, lambda { |stream|
      stream << "one" << "two"
      stream.flush
      stream.close_write
    }]
  },
  "/file" => ->(env) { [200, plain, FileBody.new("file", File.join(__dir__, query(env)["name"]))] },
  "/file-with-length" => lambda { |env|
    path = File.join(__dir__, query(env)["name"])
    [200, plain("content-length" => File.size(path).to_s), FileBody.new("file", path)]
  },
  # Rails' streaming does so on Rack 2: the body carries its own chunks.
  "/chunked-by-app" => lambda { |_|
    [200, plain("transfer-encoding" => "chunked"), Body.new("chunks", ["3\r\none\r\n", "4\r\ntwo!\r\n", "0\r\n\r\n"])]
  }
}.freeze

BROKEN = {
  "/broken/crlf-value" => ->(_) { [200, plain("x-evil" => "a\r\nX-Injected: yes"), ["split"]] },
  "/broken/cr-value" => ->(_) { [200, plain("x-evil" => "a\rX-Injected: yes"), ["split"]] },
  "/broken/nul-value" => ->(_) { [200, plain("x-evil" => "a\0b"), ["split"]] },
  "/broken/crlf-name" => ->(_) { [200, plain("x-evil: a\r\nX-Injected" => "yes"), ["split"]] },
  "/broken/crlf-location" => ->(_) { [302, plain("location" => "/a\r\n\r\n<script>"), ["split"]] },
  "/broken/space-name" => ->(_) { [200, plain("x evil" => "yes"), ["split"]] },
  "/broken/short-array" => ->(_) { [200, plain("content-length" => "10"), ["12345"]] },
  "/broken/long-array" => ->(_) { [200, plain("content-length" => "5"), ["1234567890"]] },
  "/broken/short-each" => ->(_) { [200, plain("content-length" => "10"), Body.new("short", %w[12 345])] },
  "/broken/long-each" => ->(_) { [200, plain("content-length" => "5"), Body.new("long", %w[12 34 56 78 90])] },
  "/broken/short-stream" => ->(_) { [200, plain("content-length" => "10"), CALLABLE.call("12345")] },
  "/broken/long-stream" => ->(_) { [200, plain("content-length" => "5"), CALLABLE.call("12345", "67890")] },
  "/broken/short-large" => ->(_) { [200, plain("content-length" => "9999999"), Body.new("s", [CONTENT] * 40)] },
  "/broken/long-large" => ->(_) { [200, plain("content-length" => "5"), Body.new("l", [CONTENT] * 40)] },
  "/broken/wrong-file-length" => lambda { |env|
    [200, plain("content-length" => "5"), FileBody.new("file", File.join(__dir__, query(env)["name"]))]
  },
  "/broken/nonsense-length" => ->(_) { [200, plain("content-length" => "five"), ["12345"]] },
  "/broken/negative-length" => ->(_) { [200, plain("content-length" => "-5"), ["12345"]] },
  "/broken/two-lengths" => ->(_) { [200, plain("content-length" => "5\n7"), ["12345"]] },
  "/broken/body-on-head" => ->(_) { [200, plain, Body.new("on head", ["unwanted"])] },
  "/broken/body-on-204" => ->(_) { [204, {}, Body.new("on 204", ["unwanted"])] },
  "/broken/body-on-304" => ->(_) { [304, { "etag" => '"v1"' }, Body.new("on 304", ["unwanted"])] },
  "/broken/interim-status" => ->(_) { [103, { "link" => "</a.css>; rel=preload" }, []] },
  "/broken/status-100" => ->(_) { [100, {}, []] },
  "/broken/status-0" => ->(_) { [0, plain, ["zero"]] },
  "/broken/status-word" => ->(_) { ["fine", plain, ["word"]] },
  "/broken/nil" => ->(_) { nil },
  "/broken/no-body" => ->(_) { [200, plain, nil] },
  "/broken/string-body" => ->(_) { [200, plain, "not enumerable"] },
  "/broken/hop-by-hop" => lambda { |_|
    [200, plain("connection" => "close", "keep-alive" => "timeout=99", "status" => "500 evil",
                "rack.internal" => "secret"), ["clean"]]
  },
  "/broken/missing-file" => ->(_) { [200, plain, FileBody.new("missing", "/nonexistent/file")] },
  "/broken/each-raises-first" => ->(_) { [200, plain, Body.new("raises", %w[one two], fail_after: 0)] },
  "/broken/each-raises-midway" => ->(_) { [200, plain, Body.new("raises", [CONTENT] * 20, fail_after: 10)] },
  "/broken/each-raises-with-length" => lambda { |_|
    [200, plain("content-length" => "32768"), Body.new("raises", [CONTENT] * 2, fail_after: 1)]
  },
  "/broken/close-raises" => lambda { |_|
    body = Body.new("close raises", ["all well"])
    def body.close = (super; raise "close broke")
    [200, plain, body]
  },
  "/broken/stream-raises" => lambda { |_|
    [200, plain, ->(stream) { stream.write("begun"); raise "the stream broke" }]
  },
  "/broken/waits" => lambda { |env|
    [200, plain, Body.new("waits", [CONTENT] * 3, wait: File.join(__dir__, query(env)["for"]))]
  }
}.freeze

NOT_FOUND = ->(_) { [404, plain, ["no such path"]] }

def dispatch(table)
  ->(env) { table.fetch(env["PATH_INFO"], NOT_FOUND).call(env) }
end

checked = Rack::Lint.new(dispatch(ALLOWED))
unchecked = dispatch(UNCHECKED.merge(BROKEN))

run ->(env) { (ALLOWED.key?(env["PATH_INFO"]) ? checked : unchecked).call(env) }
