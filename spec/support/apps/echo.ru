# frozen_string_literal: true

# Tells what the application was given: the Rack environment and the request's body. Everything is checked by
# Rack::Lint, on the way in and on the way out.

require "digest"
require "json"
require "rack"
require "rack/lint"

class Echo
  PLAIN = [String, Integer, Float, TrueClass, FalseClass, NilClass].freeze

  def call(env)
    case env["PATH_INFO"]
    when %r{\A/input/(\w+)\z} then json(read_input(Regexp.last_match(1), env["rack.input"]).merge(lengths(env)))
    when "/hello" then [200, { "content-type" => "text/plain" }, ["hello"]]
    else json(describe(env))
    end
  end

  private

  def describe(env)
    plain = env.select { |key, value| PLAIN.include?(value.class) || key == "rack.version" }
    plain = plain.transform_values { |value| value.is_a?(String) ? text(value) : value }
    plain["classes"] = env.select { |key, _| key.start_with?("rack.") }.transform_values { |value| value.class.name }
    plain["pid"] = Process.pid
    plain["callable"] = env.select { |key, value| key.is_a?(String) && value.respond_to?(:call) }.keys
    plain
  end

  def lengths(env)
    { "CONTENT_LENGTH" => env["CONTENT_LENGTH"], "HTTP_TRANSFER_ENCODING" => env["HTTP_TRANSFER_ENCODING"] }
  end

  def read_input(how, input)
    case how
    when "read" then { "body" => text(input.read), "again" => text(input.read), "beyond" => input.read(5) }
    when "pieces" then { "pieces" => pieces(input) }
    when "buffer" then read_into_buffer(input)
    when "gets" then { "lines" => lines(input) }
    when "each" then { "lines" => [].tap { |found| input.each { |line| found << line } } }
    when "twice" then read_twice(input)
    when "digest" then digest(input)
    when "ignore" then {}
    else raise ArgumentError, "no way of reading called #{how}"
    end
  end

  def text(string)
    string&.dup&.force_encoding(Encoding::UTF_8)
  end

  def pieces(input)
    found = []
    while (piece = input.read(7))
      found << piece
    end
    found
  end

  def read_into_buffer(input)
    buffer = +"left from before"
    first = input.read(4, buffer)
    { "buffer" => buffer.dup, "same" => first.equal?(buffer), "end" => (input.read && input.read(4, buffer)) }
  end

  def lines(input)
    found = []
    while (line = input.gets)
      found << line
    end
    found
  end

  # Rack 2 requires rewind; Rack 3 allows it, and servers that spool the body offer it.
  def read_twice(input)
    first = input.read
    input.rewind
    { "first" => text(first), "second" => text(input.read) }
  end

  def digest(input)
    sum = Digest::SHA256.new
    size = 0
    while (piece = input.read(65_536))
      sum << piece
      size += piece.bytesize
    end
    { "sha256" => sum.hexdigest, "size" => size }
  end

  def json(value)
    [200, { "content-type" => "application/json" }, [JSON.generate(value)]]
  end
end

plain = Echo.new
checked = Rack::Lint.new(plain)
# Rack 3's Lint knows no rewind.
run ->(env) { (env["PATH_INFO"] == "/input/twice" ? plain : checked).call(env) }
