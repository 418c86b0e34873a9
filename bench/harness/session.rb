# frozen_string_literal: true

require "tmpdir"

module Bench
  # The servers of one run, with a directory for all their files; whatever happens, both are gone afterwards.
  class Session
    def self.open(progress)
      Dir.mktmpdir("bench-") do |dir|
        session = new(dir, progress)
        begin
          yield session
        ensure
          session.close
        end
      end
    end

    attr_reader :dir, :servers

    def initialize(dir, progress)
      @dir = dir
      @progress = progress
      @servers = []
    end

    def prepare(app, ruby)
      say "preparing #{app.name}"
      app.prepare(dir, ruby)
    end

    # The server is not started yet.
    def server(definition, app, setup)
      Server.new(definition, app, setup, File.join(dir, (servers.size + 1).to_s)).tap { |server| servers << server }
    end

    def start(definition, app, setup)
      server(definition, app, setup).tap do |server|
        say "starting #{definition.label}: #{server.command.join(' ')}"
        server.start
      end
    end

    # A server that can't be stopped does not keep the others from being stopped.
    def close
      failures = servers.filter_map do |server|
        stop(server)
        nil
      rescue Error => e
        e
      end
      raise failures.first unless failures.empty?
    end

    def stop(server)
      server.stop.each { |title| say "had to kill #{title}: it did not leave in time after TERM" }
    end

    def say(line)
      @progress.puts line
    end
  end
end
