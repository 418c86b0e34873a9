# frozen_string_literal: true

require "open3"

module Bench
  # One run of wrk: keep-alive connections that each send the next request when the response has arrived (a closed loop).
  class Wrk
    Report = Struct.new(:requests, :seconds, :requests_per_second, :bytes_per_second, :p50, :p99, :errors, keyword_init: true) do
      def error_count
        errors.values.sum
      end

      def faults
        Wrk.faults(errors)
      end
    end

    SECONDS = { "us" => 1e-6, "ms" => 1e-3, "s" => 1.0, "m" => 60.0, "h" => 3600.0 }.freeze
    BYTES = { "B" => 1, "KB" => 1024, "MB" => 1024**2, "GB" => 1024**3, "TB" => 1024**4 }.freeze

    # Longer than any answer of a healthy server here; past it wrk counts a time-out, and the case fails.
    TIMEOUT = 10
    # What wrk may need beyond its duration to finish and print.
    GRACE = 15

    # One thread of wrk drives far more requests than an application answers, and leaves the servers the processor.
    THREADS = 1

    # `wrk -v` prints its version and then fails for want of a URL.
    def self.version
      output, = Open3.capture2e("wrk", "-v")
      output[/\Awrk (\S+)/, 1] or raise Error, "can't tell wrk's version from:\n#{output}"
    rescue Errno::ENOENT
      raise Error, "wrk is not there: apt-get install wrk"
    end

    def self.parse(text)
      report = Report.new(
        requests: number(text, /^\s*(\d+) requests in /, "the number of requests"),
        seconds: duration(capture(text, /^\s*\d+ requests in ([\d.]+[a-z]+),/, "the time taken")),
        requests_per_second: capture(text, %r{^Requests/sec:\s+([\d.]+)}, "requests per second").to_f,
        bytes_per_second: bytes(capture(text, %r{^Transfer/sec:\s+(\S+)}, "bytes per second")),
        p50: duration(capture(text, /^\s+50%\s+(\S+)/, "the 50th percentile")),
        p99: duration(capture(text, /^\s+99%\s+(\S+)/, "the 99th percentile")),
        errors: errors(text)
      )
      raise Error, "wrk completed no request at all:\n#{text}" if report.requests.zero?

      report
    end

    def self.duration(text)
      match = /\A([\d.]+)(us|ms|s|m|h)\z/.match(text) or raise Error, "wrk printed a time that can't be read: #{text.inspect}"
      match[1].to_f * SECONDS.fetch(match[2])
    end

    def self.bytes(text)
      match = /\A([\d.]+)([KMGT]?B)\z/.match(text) or raise Error, "wrk printed a size that can't be read: #{text.inspect}"
      match[1].to_f * BYTES.fetch(match[2])
    end

    # Errors by kind, in words.
    def self.faults(errors)
      errors.map { |kind, count| "#{count} × #{kind == :status ? 'a status other than 2xx or 3xx' : "socket error (#{kind})"}" }
    end

    def self.errors(text)
      sockets = text[/^\s*Socket errors: (.*)$/, 1].to_s.scan(/(\w+) (\d+)/).to_h { |kind, count| [kind.to_sym, count.to_i] }
      sockets.merge(status: text[/^\s*Non-2xx or 3xx responses: (\d+)/, 1].to_i).reject { |_, count| count.zero? }
    end

    def self.number(text, pattern, what)
      Integer(capture(text, pattern, what), 10)
    end

    def self.capture(text, pattern, what)
      text[pattern, 1] or raise Error, "wrk's output does not tell #{what}:\n#{text}"
    end

    private_class_method :duration, :bytes, :errors, :number, :capture

    attr_reader :connections

    # `headers` are sent with every request; `script` is a Lua file that chooses the requests, with its `arguments`.
    def initialize(url, connections:, duration:, threads: THREADS, headers: {}, script: nil, arguments: [])
      @url = url
      @connections = connections
      @duration = duration
      @threads = threads
      @headers = headers
      @script = script
      @arguments = arguments
    end

    def command
      ["wrk", "--latency", "--timeout", "#{TIMEOUT}s", "-t", @threads.to_s, "-c", @connections.to_s, "-d", "#{@duration}s",
       *@headers.flat_map { |name, value| ["-H", "#{name}: #{value}"] }, *(["-s", @script] if @script), @url, *@arguments]
    end

    def run
      reader, writer = IO.pipe
      pid = Process.spawn(*command, out: writer, err: %i[child out], in: File::NULL)
      writer.close
      text = read_all(reader)
      _, status = Process.wait2(pid)
      pid = nil
      raise Error, "`#{command.join(' ')}` failed (#{status}):\n#{text}" unless status.success?

      self.class.parse(text)
    ensure
      reader&.close
      finish(pid) if pid
    end

    private

    def read_all(reader)
      deadline = Clock.now + @duration + GRACE
      text = +""
      loop do
        raise Error, "wrk did not finish in #{@duration + GRACE} s; it had printed:\n#{text}" unless
          reader.wait_readable([deadline - Clock.now, 0].max)

        text << reader.readpartial(65_536)
      rescue EOFError
        return text
      end
    end

    def finish(pid)
      Process.kill(:KILL, pid)
      Process.wait(pid)
    rescue Errno::ESRCH, Errno::ECHILD
      # It ended by itself in between, which is all that was wanted.
    end
  end
end
