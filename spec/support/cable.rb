# frozen_string_literal: true

require "json"

module Harness
  # Applications that use Action Cable's adapters without Rails, and what their processes have received.
  module Cable
    SERVER = <<~RUBY
      require "logger"
      require "active_support/all"
      require "action_cable"

      configuration = ActionCable::Server::Configuration.new
      configuration.cable = { "adapter" => ENV.fetch("CABLE_ADAPTER", "passenger"), "url" => ENV["REDIS_URL"],
                              "channel_prefix" => "spec" }.compact.with_indifferent_access
      configuration.logger = Logger.new($stderr, progname: "cable")
      CABLE = ActionCable::Server::Base.new(config: configuration)

      # Writes down what is received, a line each, in the order of its arrival.
      class CableRecord
        def initialize(path)
          @file = File.open(path, "a").tap { |file| file.sync = true }
        end

        def follow(channel)
          CABLE.pubsub.subscribe(channel, ->(message) { @file.write("\#{channel} \#{message}\\n") },
                                 -> { @file.write("\#{channel} subscribed\\n") })
        end
      end
    RUBY

    module_function

    def directory(files = {})
      Apps.directory("cable", {
        "cable_server.rb" => SERVER,
        "Gemfile" => "source \"https://rubygems.org\"\ngem \"actioncable\"\ngem \"passenger\", path: #{ROOT.inspect}, require: false\n", **files
      })
    end

    def environment(directory) = { "BUNDLE_GEMFILE" => File.join(directory, "Gemfile") }

    # What a process has received on a channel since it has subscribed to it.
    def received(directory, pid, channel)
      path = File.join(directory, "received-#{pid}")
      lines = File.exist?(path) ? File.readlines(path, chomp: true).select { |line| line.start_with?("#{channel} ") } : []
      lines.map { |line| line.delete_prefix("#{channel} ") }
    end
  end
end
