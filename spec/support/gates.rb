# frozen_string_literal: true

module Harness
  # The other side of spec/support/apps/control.ru: requests that are held in a worker until the spec opens their gate.
  module Gates
    def new_gate
      @gates ||= []
      @gates << "#{Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)}-#{@gates.size}"
      @gates.last
    end

    # How many requests have come to this gate, by the pids of the workers that hold them.
    def entered(gate, server: self.server)
      path = File.join(server.directory, "entered-#{gate}")
      File.exist?(path) ? File.readlines(path).map(&:to_i) : []
    end

    def wait_until_entered(gate, count = 1, server: self.server)
      Harness.eventually(-> { "arrival of #{count} requests in the application (there are #{entered(gate, server: server).size})" }) do
        entered(gate, server: server).size >= count
      end
      entered(gate, server: server)
    end

    def open_gate(gate, server: self.server)
      File.write(File.join(server.directory, "gate-#{gate}"), "")
    end

    # An example that fails must not leave a worker busy that the next one needs.
    def open_forgotten_gates
      (@gates || []).product(Command.running.map(&:directory)).each do |gate, directory|
        entered, opened = %w[entered gate].map { |name| File.join(directory, "#{name}-#{gate}") }
        File.write(opened, "") if File.exist?(entered)
      end
    end

    # A connection with a request that a worker is busy with.
    def hold(gate, path: "/hold", server: self.server)
      server.connect.tap { |client| client.request("GET", "#{path}?gate=#{gate}") }
    end
  end
end

RSpec.configure do |config|
  config.include Harness::Gates
  config.after { open_forgotten_gates }
end
