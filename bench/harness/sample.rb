# frozen_string_literal: true

require "etc"

module Bench
  # Readings of the clocks before or after a load, in seconds: wall, CPU of the server's tree, of the harness with its load
  # generators, of the whole machine; and who the application processes were.
  Sample = Struct.new(:wall, :server, :harness, :machine, :workers, keyword_init: true) do
    def self.of(server)
      times = Process.times
      new(wall: Clock.now, server: server.cpu_seconds, harness: times.utime + times.stime + times.cutime + times.cstime,
          machine: Machine.busy_seconds, workers: server.workers.map(&:pid).sort)
    end

    # The share of all processors that neither this server nor the harness used: the machine's other work, the idle peers'
    # included. It tells whether the machine was quiet enough.
    def others_since(before, processors = Etc.nprocessors)
      rest = (machine - before.machine) - (server - before.server) - (harness - before.harness)
      [rest, 0].max / ((wall - before.wall) * processors)
    end
  end
end
