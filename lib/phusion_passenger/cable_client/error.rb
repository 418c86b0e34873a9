# frozen_string_literal: true

module PhusionPassenger
  class CableClient
    # What broadcasting may end with.
    class Error < StandardError; end

    # There is no server to be found, or it does not take this process.
    class Unavailable < Error; end

    # The message, or the name of its channel, is longer than the protocol allows.
    class TooLarge < Error; end

    # The connection has ended.
    class Lost < Error; end
  end
end
