# frozen_string_literal: true

require "net/http"

module Bench
  # A single request, to see whether a server is there and what it says.
  module Probe
    NOT_THERE_YET = [Errno::ECONNREFUSED, Errno::ECONNRESET, Errno::EPIPE, EOFError].freeze
    OPEN_TIMEOUT = 2
    READ_TIMEOUT = 60

    module_function

    # nil while nobody listens. Without other `headers`, `Accept-Encoding: identity`, since wrk asks for no compression either. (A
    # coding that is asked for by name is left in place by Net::HTTP.)
    def get(host, port, path, headers = {})
      Net::HTTP.start(host, port, open_timeout: OPEN_TIMEOUT, read_timeout: READ_TIMEOUT) do |http|
        http.max_retries = 0
        http.get(path, { "Accept-Encoding" => "identity" }.merge(headers))
      end
    rescue *NOT_THERE_YET
      nil
    end
  end
end
