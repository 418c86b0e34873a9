# frozen_string_literal: true

require "json"
require "rbconfig"

module Bench
  # Starts a server through a keeper process (keeper_process.rb), which answers for everything that comes of the server.
  class Keeper
    PROGRAM = File.expand_path("keeper_process.rb", __dir__)
    # Time for the keeper itself to start, and to report after its own deadlines for ending the server.
    PATIENCE = 30

    # How long a server may take to leave after TERM before what remains of it is killed, in seconds.
    GRACEFUL = 10

    Started = Struct.new(:pid, :at)

    attr_reader :pid

    def initialize(command, env:, chdir:, log:, graceful: GRACEFUL)
      @command = command
      @order = { command: command, env: env, chdir: chdir, log: log, graceful: graceful }
    end

    # Returns the server's pid and the monotonic time just before it was started.
    def start
      keeper_control, @control = IO.pipe
      @report, keeper_report = IO.pipe
      @pid = Process.spawn(RbConfig.ruby, "--disable-gems", PROGRAM, in: keeper_control, out: keeper_report, pgroup: true)
      keeper_control.close
      keeper_report.close
      @control.puts(JSON.generate(@order))
      started = listen("starting")
      if started["error"]
        forget
        raise Error, "can't start `#{@command.join(' ')}`: #{started['error']}"
      end

      Started.new(started.fetch("pid"), started.fetch("at"))
    end

    # The server's processes: everything below the keeper.
    def processes
      ProcessTree.descendants(@pid).reject(&:zombie?)
    end

    # CPU seconds that the tree has used so far, those of its ended processes included.
    def cpu_seconds
      entries = ProcessTree.all
      keeper = entries.find { |entry| entry.pid == @pid } or raise Error, "the keeper of `#{@command.join(' ')}` has gone"
      ProcessTree.descendants(@pid, entries).sum(&:cpu_seconds) + (keeper.reaped_ticks / ProcessTree::TICKS_PER_SECOND)
    end

    # Ends the server and returns the titles of the processes that did not leave when asked to and had to be killed.
    def stop
      return [] unless @pid

      @control.close
      listen("ending").fetch("killed", [])
    ensure
      forget
    end

    private

    def listen(doing)
      line = @report.gets if @report.wait_readable(PATIENCE)
      raise Error, "the keeper of `#{@command.join(' ')}` fell silent while #{doing} it" unless line

      JSON.parse(line)
    end

    def forget
      return unless @pid

      [@control, @report].each(&:close)
      kill_all unless Clock.wait_until(5) { Process.wait(@pid, Process::WNOHANG) }
      @pid = nil
    end

    # Only for a keeper that hangs: normally it is the keeper that ends everything below it.
    def kill_all
      [*ProcessTree.descendants(@pid).map(&:pid), @pid].each do |pid|
        Process.kill(:KILL, pid)
      rescue Errno::ESRCH
        next # It has ended by itself.
      end
      Process.wait(@pid)
    end
  end
end
