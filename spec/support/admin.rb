# frozen_string_literal: true

require "json"

module Harness
  # An instance directory, and its admin socket.
  class Admin
    attr_reader :directory

    # The directories of running servers in a registry: those that say who they are.
    def self.all(registry)
      Dir.glob(File.join(registry, "passenger.*", "properties.json")).map { |path| new(File.dirname(path)) }
    end

    # Waits for the directory: a server can be connected to a moment before it has one.
    def self.of(server)
      Harness.eventually(-> { "instance directory of #{server.name} (#{server.pid}) beside #{Dir.children(server.registry)}" }) do
        all(server.registry).find { |admin| admin.properties["core_pid"] == server.pid }
      end
    end

    def initialize(directory)
      @directory = directory
    end

    def properties
      JSON.parse(File.read(File.join(directory, "properties.json")))
    end

    # A Unix socket's address holds 107 bytes; a path that is longer is reached through a descriptor of its directory.
    def connect(&block)
      File.open(File.join(directory, "agents.s")) do |agents|
        HTTPClient.open("/proc/self/fd/#{agents.fileno}/core_api", &block)
      end
    end

    def get(path)
      connect { |client| client.get(path) }
    end

    def post(path, body)
      connect { |client| client.post(path, body) }
    end

    def status
      response = get("/status")
      raise "status: #{response.inspect}" unless response.status == 200

      response.json
    end
  end

  module Administering
    def admin(server = self.server)
      Admin.of(server)
    end
  end
end

RSpec.configure { |config| config.include Harness::Administering }
