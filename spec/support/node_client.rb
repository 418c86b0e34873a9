# frozen_string_literal: true

require "json"

module Harness
  # Rails' own client of Action Cable in Node (spec/clients/follow.js), following the comments of a post.
  class NodeClient
    PROGRAM = File.join(ROOT, "spec/clients/follow.js")
    # Where bin/setup installs the packages that spec/clients/package-lock.json names
    PACKAGES = File.join(ROOT, "tmp/clients")
    # As they are called there
    VERSIONS = { "6.1" => "actioncable-6", "7.2" => "actioncable-7" }.freeze

    def self.installed?
      File.exist?(File.join(PACKAGES, "installed.json")) && ENV["PATH"].split(":").any? { |directory| File.executable?(File.join(directory, "node")) }
    end

    # stale_seconds: after which the client looks for a new connection; nil for its own idea of that
    def initialize(server, post, version:, stale_seconds: nil, origin: "http://127.0.0.1:#{server.port}")
      @log = File.join(Suite.new_directory("node"), "errors.log")
      url = "#{origin.sub("http", "ws")}/cable"
      arguments = [PACKAGES, VERSIONS.fetch(version), url, origin, post, *stale_seconds].map(&:to_s)
      input, @end = IO.pipe
      @output, output = IO.pipe
      @pid = Process.spawn(Suite.environment, "node", PROGRAM, *arguments, in: input, out: output, err: @log, pgroup: true, unsetenv_others: true)
      [input, output].each(&:close)
      @waiter = Process.detach(@pid)
      @buffer = +""
    end

    # The next event, which has to be of that kind.
    def expect(event, within: 60)
      deadline = Deadline.new(within)
      until (at = @buffer.index("\n"))
        deadline.check!("\"#{event}\" of the client in Node (#{File.read(@log)})") unless @output.wait_readable(deadline.left)
        @buffer << @output.readpartial(65_536)
      end
      found = JSON.parse(@buffer.slice!(0..at))
      raise "the client in Node says #{found} instead of \"#{event}\"" unless found["event"] == event

      found
    rescue EOFError
      raise "the client in Node has ended:\n#{File.read(@log)}"
    end

    def finish
      @end.close unless @end.closed?
      unless @waiter.join(5)
        Process.kill(:KILL, -@pid)
        @waiter.join
      end
      @output.close
    end
  end
end
