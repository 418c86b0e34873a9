# frozen_string_literal: true

require_relative "chunked_body"
require_relative "farewell"
require_relative "hijack"
require_relative "stream"

module PhusionPassenger
  # Sends the responses whose body is not simply an Array; those are done by Slot#respond.
  module Response
    class << self
      # Sends the whole response or raises. Never closes the body.
      def deliver(slot, open, env, status, headers, body)
        if (callback = partial_hijack(env, status, headers))
          deliver_by_hijack(slot, status, headers, callback)
        elsif (file = whole_file(status, headers, body))
          deliver_file(slot, status, headers, file)
        elsif env["REQUEST_METHOD"] == "HEAD"
          slot.respond(status, headers, []) # a file that can't be opened: nobody needs the body
        elsif (array = as_array(headers, body))
          slot.respond(status, headers, array) || deliver_each(slot, status, headers, array)
        elsif body.respond_to?(:each)
          open.watch(-> { Farewell.tell(env, body) }) { deliver_each(slot, status, headers, body) }
        elsif body.respond_to?(:call)
          deliver_stream(slot, open, env, status, headers, body)
        else
          raise Native::InvalidResponse, "the application returned #{body.class} as the body of the response: " \
                                         "it responds neither to each nor to call"
        end
      end

      private

      # What writes the body onto the client's connection, if the application wants that. Responses without a body have
      # nothing to write.
      def partial_hijack(env, status, headers)
        callback = Hijack.callback(headers)
        callback if callback && (status.to_i == 101 || env["REQUEST_METHOD"] != "HEAD")
      end

      def deliver_by_hijack(slot, status, headers, callback)
        socket = Hijack.after_head(slot, status, headers)
        callback.call(socket)
        slot.write_end
      rescue Exception
        socket&.close # nobody writes the rest
        raise
      end

      # A body whose length is known need not be put together. And Rails 7.2 offers to_ary on bodies that can only be
      # iterated with a block (Rack::Files::Iterator).
      def as_array(headers, body)
        return body if body.is_a?(Array)
        return [body] if body.is_a?(String) # not Rack, but what some applications return
        return [] if body.nil?

        body.to_ary if body.respond_to?(:to_ary) && !header(headers, "content-length")
      end

      # The open file if the response is one whole regular file. It is opened here, because closing the body may delete it
      # before the engine would get to it.
      def whole_file(status, headers, body)
        return unless body.respond_to?(:to_path) && (path = body.to_path)
        return if status.to_i == 206 || header(headers, "content-range")

        path = File.expand_path(path)
        return unless File.file?(path) # opening a device may have effects

        file = File.open(path, File::RDONLY | File::NONBLOCK)
        length = header(headers, "content-length")
        return file if length.nil? || length.to_s == file.size.to_s

        file.close
        nil
      rescue Errno::ENOENT, Errno::EACCES, Errno::ENOTDIR
        nil # then each has to know where the bytes come from
      end

      def deliver_file(slot, status, headers, file)
        slot.respond_with_file(status, headers, file.path, file.fileno)
      ensure
        file.close
      end

      def deliver_each(slot, status, headers, body)
        body = ChunkedBody.new(body) if header(headers, "transfer-encoding").to_s.casecmp?("chunked")
        begun = begin_at_once?(headers)
        complete = false
        length = header(headers, "content-length").to_s
        slot.write_head(status, headers, nil) if begun
        body.each do |chunk|
          if begun
            slot.write_body(chunk) unless chunk.empty?
          elsif chunk.bytesize.to_s == length # that is all of it; more would be an error, and raises
            begun = complete = slot.respond(status, headers, [chunk])
          else
            begun = true
            slot.write_head(status, headers, chunk)
          end
        end
        return if complete

        begun ? slot.write_end : slot.respond(status, headers, [])
      end

      def deliver_stream(slot, open, env, status, headers, body)
        stream = Stream.new(slot, status, headers, env["rack.input"])
        gone = lambda do
          stream.client_gone
          Farewell.tell(env, body)
        end
        open.watch(gone) do
          stream.flush if begin_at_once?(headers)
          body.call(stream)
          stream.wait
        end
      ensure
        stream&.abandon
      end

      # A client of server-sent events knows by the head that it is connected; the first event may come much later.
      def begin_at_once?(headers)
        header(headers, "content-type").to_s.start_with?("text/event-stream")
      end

      def header(headers, name)
        headers.each { |key, value| return value if name.casecmp?(key.to_s) }
        nil
      end
    end
  end
end
