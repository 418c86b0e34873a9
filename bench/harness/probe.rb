# frozen_string_literal: true

require "net/http"

module Bench
  # A single request, to see whether a server is there and what it says.
  module Probe
    NOT_THERE_YET = [Errno::ECONNREFUSED, Errno::ECONNRESET, Errno::EPIPE, EOFError].freeze
    OPEN_TIMEOUT = 2
    READ_TIMEOUT = 60

    module_function

    # nil while nobody listens. `Accept-Encoding: identity`, since wrk asks for no compression either.
    def get(host, port, path)
      Net::HTTP.start(host, port, open_timeout: OPEN_TIMEOUT, read_timeout: READ_TIMEOUT) do |http|
        http.max_retries = 0
        http.get(path, "Accept-Encoding" => "identity")
      end
    rescue *NOT_THERE_YET
      nil
    end
  end
end
