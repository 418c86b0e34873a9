# frozen_string_literal: true

# Writes down every request it gets: for the specs that prove that a request never reached the application.

require "rack"
require "rack/lint"

REQUESTS = File.join(__dir__, "requests")

run(Rack::Lint.new(lambda do |env|
  body = env["rack.input"]&.read.to_s
  File.write(REQUESTS, "#{env["REQUEST_METHOD"]} #{env["PATH_INFO"]} #{body.bytesize}\n", mode: "a")
  [200, { "content-type" => "text/plain" }, ["served #{env["PATH_INFO"]}"]]
end))
