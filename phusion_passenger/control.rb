# frozen_string_literal: true

module PhusionPassenger
  # One end of a control socket (docs/protocol.md).
  class Control
    # verb: String, fields: Hash of Strings, fds: Array of Integers that belong to the receiver
    Message = Struct.new(:verb, :fields, :fds) do
      # The field, which must be there.
      def fetch(key)
        fields.fetch(key) do
          raise Native::ProtocolError, "control message #{verb}: field #{key} is missing; the engine and the application " \
                                       "process come from different installations of passenger"
        end
      end
    end

    attr_reader :fd

    def initialize(fd)
      @fd = fd
    end

    # Waits for a message; nil when the other side has closed.
    def receive
      text, fds = Native.receive_message(@fd)
      text && decode(text, fds)
    end

    # Raises Native::Disconnected when the other side has closed.
    def post(verb, fields = {}, fds = [])
      Native.send_message(@fd, [verb, *fields.map { |key, value| "#{key}=#{clean(value)}" }].join("\0"), fds)
    end

    # For a message that this process can't obey.
    def refuse(message)
      message.fds.each { |fd| Native.close_fd(fd) }
      Log.write("the engine sent #{message.verb.inspect}, which this process does not know")
      nil
    end

    def close = Native.close_fd(@fd)

    private

    def decode(text, fds)
      verb, *pairs = text.split("\0", -1)
      Message.new(verb, pairs.to_h { |pair| split(verb, pair) }, fds)
    end

    def split(verb, pair)
      key, separator, value = pair.partition("=")
      raise Native::ProtocolError, "control message #{verb}: #{pair.inspect} is not key=value" if separator.empty?

      [key, value]
    end

    def clean(value) = Exceptions.utf8(value.to_s).tr("\0", "?")
  end
end
