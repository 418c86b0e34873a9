# frozen_string_literal: true

# Answers everything and says so: for the specs of what the server answers by itself, and of what it must not. Not behind
# Rack::Lint, since the specs send it paths that Lint refuses.

run(lambda do |env|
  headers = { "content-type" => "text/plain", "x-app" => "yes", "etag" => '"app"', "cache-control" => "private, max-age=7" }
  [200, headers, ["app #{env["REQUEST_METHOD"]} #{env["PATH_INFO"]} #{env["QUERY_STRING"]}".strip]]
end)
