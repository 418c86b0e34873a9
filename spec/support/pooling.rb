# frozen_string_literal: true

module Harness
  # The pool of a server's processes as its status tells of it, and new code for the application control.ru.
  module Pooling
    CONTROL = File.join(Apps::SOURCE, "control.ru")

    # For the start of config.ru: each worker waits until the spec permits it to go on (see #permit).
    WAITING_FOR_PERMISSION = <<~RUBY
      PhusionPassenger.on_event(:starting_worker_process) do
        File.write(File.join(__dir__, "wants-permission"), "x", mode: "a")
        permitted = lambda do
          Dir.glob(File.join(__dir__, "permit-*")).any? do |permit|
            File.rename(permit, permit.sub("permit-", "used-"))
          rescue Errno::ENOENT # another one has it
            false
          end
        end
        sleep 0.005 until permitted.call
      end
    RUBY

    # One status after another, in a thread of its own.
    class Watch
      attr_reader :seen

      def initialize(admin)
        @seen = []
        @thread = Thread.new do
          admin.connect do |client|
            until @done
              @seen << client.get("/status").json
              sleep 0.002
            end
          end
        end
        @thread.report_on_exception = false
      end

      # Waits for a status of which the block is true.
      def wait(what)
        Harness.eventually(-> { "#{what}, the last status is #{@seen.last}" }) do
          @thread.join unless @thread.alive? # raises what has ended it
          @seen.any? && yield(@seen.last)
        end
      end

      def finish
        close
        @thread.join
        @seen
      end

      def close
        @done = true
        @thread.join(5)
      rescue StandardError
        nil # #finish raises it, if there is nothing else to be told
      end
    end

    def status(server = self.server)
      admin(server).status
    end

    def pool(server = self.server)
      status(server)["pool"]
    end

    # The pids of the workers in a state.
    def pids(server = self.server, state: "ready")
      status(server)["workers"].filter_map { |worker| worker["pid"] if worker["state"] == state }
    end

    # Waits until so many workers are ready and nothing is starting, leaving or waiting to be replaced.
    def settled(count, server = self.server, within: 20)
      last = nil
      Harness.eventually(-> { "a pool of #{count} workers at rest, the last status is #{last}" }, within: within) do
        last = status(server)
        last if last["pool"].values_at("size", "ready", "starting", "retiring") == [count, count, 0, 0] &&
                last["generations"].map { |generation| generation["state"] } == ["serving"] && !last["restart"]["active"]
      end
    end

    # Looks at the status over and over while the block runs, which gets the Watch; gives all that it has seen.
    def watching(server = self.server)
      watch = Watch.new(admin(server))
      yield watch
      watch.finish
    ensure
      watch&.close
    end

    # Workers that are there to serve, now or soon. Those that have been told to leave only finish what they have begun.
    def staying(status)
      status["workers"].count { |worker| worker["state"] != "leaving" }
    end

    # Puts another version of the application into place, with code before it.
    def deploy(version, server = self.server, code: "")
      File.write(File.join(server.directory, "version"), version)
      File.write(File.join(server.directory, "config.ru"), code + File.read(CONTROL))
    end

    # Restarts as somebody with a shell does. Two changes within one tick of the file system's clock would look the same.
    def touch_restart(server = self.server, directory: "tmp")
      @restart_time = (@restart_time || Time.now) + 1
      FileUtils.touch(File.join(server.directory, directory, "restart.txt"), mtime: @restart_time)
    end

    def post_restart(method = nil, server = self.server)
      response = admin(server).post("/restart", method ? JSON.generate(method: method) : "")
      raise "POST /restart: #{response.inspect}" unless response.status == 200
    end

    # Lets one more worker start (see WAITING_FOR_PERMISSION).
    def permit(count = 1, server = self.server)
      count.times do
        @permits = (@permits || 0) + 1
        File.write(File.join(server.directory, "permit-#{@permits}"), "")
      end
    end

    # How many workers have asked for permission so far.
    def asking(server = self.server)
      path = File.join(server.directory, "wants-permission")
      File.exist?(path) ? File.size(path) : 0
    end

    def version(server = self.server)
      server.get("/version").body
    end
  end
end

RSpec.configure { |config| config.include Harness::Pooling }
