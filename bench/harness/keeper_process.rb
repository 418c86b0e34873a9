# frozen_string_literal: true

require "fiddle"
require "json"
require_relative "clock"
require_relative "process_tree"

module Bench
  # A small process between the harness and one server.
  #
  # Some servers turn parts of themselves into daemons, which leave the process group, the session and the parent they were
  # started in. The keeper has the kernel make it the parent of such orphans (PR_SET_CHILD_SUBREAPER, prctl(2)), so that CPU
  # time and memory of the whole tree can be measured, and all of it can be ended by pid. It is a program of its own, not a
  # fork, so that it shares no pipe with other keepers and no memory with the servers.
  #
  # Standard input: one line of JSON (command, env, chdir, log, graceful), then nothing; its end means "end the server", be it on
  # request or because the harness was killed. Standard output: a line of JSON when the server was started, one at the end.
  class KeeperProcess
    PR_SET_CHILD_SUBREAPER = 36
    # How long killing may take, in seconds; only processes that wait for a disk take any time at all.
    FORCED = 5

    def run
      become_subreaper
      listen_to_signals
      order = JSON.parse($stdin.gets)
      server = start_server(order) or return
      wait_for_the_end
      tell(killed: end_everything(server, order.fetch("graceful")))
    end

    private

    def become_subreaper
      prctl = Fiddle::Function.new(Fiddle.dlopen(nil)["prctl"], [Fiddle::TYPE_INT] + ([Fiddle::TYPE_LONG] * 4), Fiddle::TYPE_INT)
      return if prctl.call(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0).zero?

      raise SystemCallError.new("prctl(PR_SET_CHILD_SUBREAPER)", Fiddle.last_error)
    end

    def listen_to_signals
      @wake, wake = IO.pipe
      trap("CHLD") { wake.write_nonblock(".", exception: false) }
      %w[TERM INT HUP].each { |name| trap(name) { @ending = wake.write_nonblock(".", exception: false) } }
    end

    def start_server(order)
      at = Clock.now
      pid = Process.spawn(order.fetch("env"), *order.fetch("command"),
                          unsetenv_others: true, chdir: order.fetch("chdir"), pgroup: true,
                          in: File::NULL, out: [order.fetch("log"), "a"], err: %i[child out])
      tell(pid: pid, at: at)
      pid
    rescue SystemCallError => e
      tell(error: e.message)
      nil
    end

    def wait_for_the_end
      loop do
        ready, = IO.select([$stdin, @wake])
        reap
        return if @ending || ready.include?($stdin)
      end
    end

    # Returns the titles of what had to be killed.
    def end_everything(server, graceful)
      signal(:TERM, server)
      return [] if gone_within?(graceful)

      killed = descendants.map { |entry| "#{entry.title} (pid #{entry.pid})" }
      deadline = Clock.now + FORCED
      # A process may have forked just before it was killed: look again until nothing is left.
      descendants.each { |entry| signal(:KILL, entry.pid) } until gone_within?(0.1) || Clock.now > deadline
      killed
    end

    def gone_within?(seconds)
      deadline = Clock.now + seconds
      loop do
        reap
        return true if descendants.empty?

        left = deadline - Clock.now
        return false if left <= 0

        # A server's grandchildren end without a signal to the keeper: hence the short waits.
        IO.select([@wake], nil, nil, [left, 0.05].min)
      end
    end

    def descendants
      ProcessTree.descendants(Process.pid)
    end

    def reap
      @wake.read_nonblock(4096, exception: false)
      loop { return unless Process.wait(-1, Process::WNOHANG) }
    rescue Errno::ECHILD
      nil # No children left.
    end

    def signal(name, pid)
      Process.kill(name, pid)
    rescue Errno::ESRCH
      nil # It has ended by itself.
    end

    def tell(message)
      $stdout.puts(JSON.generate(message))
      $stdout.flush
    rescue Errno::EPIPE
      nil # The harness has died; the server is ended all the same.
    end
  end
end

Bench::KeeperProcess.new.run if $PROGRAM_NAME == __FILE__
