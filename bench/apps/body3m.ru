# frozen_string_literal: true

# 3 MiB, the size of an image or an export: moving bytes is all there is to it.
body = ("0123456789abcdef" * 64 * 3072).freeze
length = body.bytesize.to_s.freeze
run ->(_env) { [200, { "content-type" => "application/octet-stream", "content-length" => length }, [body]] }
