# frozen_string_literal: true

require "json"
require "net/http"
require "socket"

module Bench
  module Pool
    # What the engine says of itself (docs/admin-api.md).
    class Admin
      # The registry is the server's TMPDIR, its own directory.
      def initialize(server)
        @server = server
        @directory = server.launch.dir
      end

      def status
        ask("GET /status")
      end

      # Has another process take the place of this one.
      def detach(pid)
        ask("POST /workers/detach", JSON.generate(pid: pid))
      end

      # Those that serve.
      def ready(status = self.status)
        status.fetch("workers").select { |worker| worker.fetch("state") == "ready" }
      end

      # Waits until the block is content with the status, which is returned.
      def wait_for(what, seconds: 60, every: 0.05)
        last = nil
        Clock.wait_until(seconds, every: every) { yield(last = status) && last } or
          raise Error, "waited for #{what} for #{seconds} s; the status was #{JSON.generate(last)}\n#{@server.log_tail}"
      end

      private

      def ask(what, body = "")
        socket = UNIXSocket.new(path)
        io = Net::BufferedIO.new(socket, read_timeout: 10)
        io.write("#{what} HTTP/1.1\r\nHost: localhost\r\nContent-Length: #{body.bytesize}\r\nConnection: close\r\n\r\n#{body}")
        response = Net::HTTPResponse.read_new(io)
        response.reading_body(io, true) { response.body }
        raise Error, "#{what} answered #{response.code}: #{response.body}" unless response.code == "200"

        JSON.parse(response.body)
      rescue SystemCallError, IOError, Net::ReadTimeout => e
        raise Error, "#{what} on #{path}: #{e.message}"
      ensure
        socket&.close
      end

      def path
        @path ||= Dir.glob(File.join(@directory, "passenger.*/agents.s/core_api")).first or
          raise Error, "there is no admin socket below #{@directory}"
      end
    end
  end
end
