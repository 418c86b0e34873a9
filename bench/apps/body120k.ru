# frozen_string_literal: true

# 120 KiB, the size of a larger page: shows what copying a body from the worker to the client costs.
body = ("0123456789abcdef" * 64 * 120).freeze
length = body.bytesize.to_s.freeze
run ->(_env) { [200, { "content-type" => "application/octet-stream", "content-length" => length }, [body]] }
