# frozen_string_literal: true

module PhusionPassenger
  # Lines on standard error, which the engine passes on to the log.
  module Log
    class << self
      # One write per entry: entries of several processes must not be mixed up.
      def write(text)
        text = "#{text}\n" unless text.end_with?("\n")
        $stderr.write("passenger[#{Process.pid}]: #{text}")
      rescue IOError, SystemCallError
        # Standard error is closed or full. There is no other place to say so, and a request must not fail for it.
      end

      # An exception as one readable block.
      def exception(headline, error, details = [])
        lines = [headline, *details.map { |detail| "  #{detail}" }]
        lines << "  #{error.class}: #{Exceptions.message(error).gsub("\n", "\n  ")}"
        lines.concat(Exceptions.backtrace(error).map { |line| "    #{line}" })
        cause = error.cause
        lines << "  caused by #{cause.class}: #{Exceptions.message(cause)}" if cause
        write(lines.join("\n"))
      end
    end
  end

  # Exceptions come from the application: their methods may fail, too, and their texts may be in any encoding.
  module Exceptions
    class << self
      def message(error)
        text = error.message
        utf8(text.is_a?(String) ? text : text.inspect)
      rescue StandardError => e
        "(#{error.class}#message raised #{e.class})"
      end

      def backtrace(error)
        (error.backtrace || []).map { |line| utf8(line) }
      end

      def utf8(text)
        text = text.dup.force_encoding(Encoding::UTF_8) if text.encoding == Encoding::ASCII_8BIT
        text.encode(Encoding::UTF_8, invalid: :replace, undef: :replace).scrub("?")
      end
    end
  end
end
