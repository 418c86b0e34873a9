# frozen_string_literal: true

module Harness
  # Redis, in memory alone.
  class RedisServer < Service
    PROGRAM = "/usr/bin/redis-server"

    def self.installed? = File.executable?(PROGRAM)

    def initialize
      home = Suite.new_directory("redis")
      socket = File.join(home, "redis.sock")
      super([PROGRAM, "--port", "0", "--unixsocket", socket, "--dir", home, "--save", "", "--appendonly", "no", "--daemonize", "no"],
            directory: home, socket: socket, name: "redis")
    end

    def url = "unix://#{address}"

    def command(*words) = ask("redis-cli", "-s", address, *words.map(&:to_s)).chomp

    # The ids of the connections of clients, redis-cli's own not counted.
    def clients
      command("CLIENT", "LIST").lines.reject { |line| line.match?(/ cmd=client(\|list)? /) }.map { |line| Integer(line[/\Aid=(\d+)/, 1]) }
    end
  end
end
