# frozen_string_literal: true

module PhusionPassenger
  # env["rack.early_hints"]: sends an interim response (103) with what the client may begin to load. The extension makes
  # one for each request whose client takes interim responses.
  class EarlyHints
    # headers: as those of a response; several values of one name are an Array, or lines of a String. Without effect once
    # the response has begun. Raises Native::InvalidResponse for what can't be sent.
    def call(headers)
      pairs = headers.flat_map { |name, value| Array(value).map { |one| [String(name), String(one)] } }
      @slot.interim(@request_id, pairs) unless pairs.empty?
      nil
    end

    def inspect = "#<#{self.class}>"
  end
end
