# frozen_string_literal: true

module Harness
  # For example groups: `serve("echo", max_pool_size: 2)` starts one server for the whole group, gives the examples
  # `server`, and ends it with all its proofs (exit status, processes, sockets, nothing that Rack::Lint has
  # complained about) after the last of them.
  module Serving
    def self.included(group)
      group.extend(ClassMethods)
    end

    module ClassMethods
      def serve(app, files: {}, environment: {}, **options)
        before(:context) do
          directory = File.directory?(app) ? app : Apps.directory(app, files)
          @server = Harness.server(directory, environment: environment, **options)
          @server.start
        end

        after(:context) do
          @server.stop
          @server.fail!("Rack::Lint found something") if @server.said.include?("LintError")
        ensure
          @server.destroy if @server.running?
        end
      end
    end

    attr_reader :server

    # Starts a server for one example; ended, if the example has not done so, without further proof.
    def start_server(directory, **options)
      started << Harness.server(directory, **options)
      started.last.start
    end

    def started
      @started ||= []
    end

    def eventually(what, **options, &block)
      Harness.eventually(what, **options, &block)
    end
  end
end

RSpec.configure do |config|
  config.include Harness::Serving
  config.after { started.each { |server| server.destroy if server.running? } }
end
