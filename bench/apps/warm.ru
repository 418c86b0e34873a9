# frozen_string_literal: true

# An application whose caches are empty when it has been loaded, and large after some requests: the case that reforking is for. The
# cache is of the kind that Ruby programs have: many small objects that live on.
CACHE = {} # rubocop:disable Style/MutableConstant -- that is the point
ENTRIES = 200_000
STEP = 10_000

run lambda { |_env|
  first = CACHE.size
  STEP.times { |offset| CACHE[first + offset] = "entry number #{first + offset}, which is kept" } if first < ENTRIES
  body = "#{CACHE.size}\n"
  [200, { "content-type" => "text/plain", "content-length" => body.bytesize.to_s }, [body]]
}
