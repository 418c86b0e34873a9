# frozen_string_literal: true

module Harness
  # The other side of spec/support/apps/pool.ru, and what the admin socket and the kernel tell about a server's processes.
  # For groups that include it.
  module Pool
    def pool_app(files = {})
      Apps.directory("pool", files)
    end

    # The pids of the workers when there are exactly so many that take requests, and no others. The server hears of the end
    # of a process a moment after it.
    def ready_workers(count, server: self.server)
      last = nil
      Harness.eventually(-> { "pool of #{count} ready workers, there are #{last && last["workers"]}" }, within: 30) do
        last = admin(server).status
        workers = last["workers"]
        ready = workers.select { |worker| settled?(worker) && ProcFS.alive?(worker["pid"]) }
        workers.map { |worker| worker["pid"] } if [workers.size, ready.size] == [count, count]
      end
    end

    def settled?(worker)
      worker["state"] == "ready" && worker["retiring"] == ""
    end

    def worker_status(pid, server: self.server)
      admin(server).status["workers"].find { |worker| worker["pid"] == pid }
    end

    # What each of the server's workers says of itself: one request to each, held until all have come.
    def facts_of_all(count, server: self.server)
      gate = new_gate
      clients = Array.new(count) { hold(gate, path: "/facts", server: server) }
      wait_until_entered(gate, count, server: server)
      open_gate(gate, server: server)
      clients.map { |client| client.read_response.json }
    ensure
      clients&.each(&:close)
    end

    # The pids of the processes that have loaded the application, one for each time.
    def boots(server: self.server)
      lines(server, "boots").map(&:to_i)
    end

    # What the application has written down: [[what, pid, ...], ...]
    def events(what = nil, server: self.server)
      lines(server, "events").map(&:split).select { |name, *| what.nil? || name == what.to_s }
    end

    # Reaping takes a moment; what is meant is a process that nobody reaps.
    def expect_no_zombies(server: self.server)
      zombies = -> { ProcFS.zombies(server.pid) }
      Harness.eventually(-> { "reaping of #{zombies.call.map { |pid| ProcFS.describe(pid) }}" }) { zombies.call.empty? }
    end

    # Sends a signal and waits for the end.
    def kill(pid, signal = :KILL)
      Process.kill(signal, pid)
      Harness.eventually(-> { "end of #{ProcFS.describe(pid)}" }) { !ProcFS.alive?(pid) }
    end

    # Two changes within one tick of the file system's clock would look the same.
    def touch_restart_file(server: self.server)
      @restart_time = (@restart_time || Time.now) + 1
      FileUtils.touch(File.join(server.directory, "tmp", "restart.txt"), mtime: @restart_time)
    end

    private

    def lines(server, name)
      path = File.join(server.directory, name)
      File.exist?(path) ? File.readlines(path, chomp: true) : []
    end
  end
end
