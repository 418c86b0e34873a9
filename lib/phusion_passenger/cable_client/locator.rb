# frozen_string_literal: true

require "json"
require_relative "connection"

module PhusionPassenger
  class CableClient
    # Finds the broker. A process that the server has started knows where it is. Others (consoles, rake tasks, background
    # jobs) look for a running server of the same application in the directories where servers register.
    class Locator
      LARGEST_PROPERTIES = 65_536

      # app_root and environment are those of the application in this process
      def initialize(app_root: Locator.app_root, environment: Locator.environment, env: ENV)
        @app_root = app_root
        @environment = environment
        @env = env
      end

      class << self
        def app_root
          rails = defined?(::Rails) && ::Rails.respond_to?(:root) && ::Rails.root
          (rails || options["app_root"] || Dir.pwd).to_s
        end

        def environment
          rails = defined?(::Rails) && ::Rails.respond_to?(:env) && ::Rails.env
          (rails || options["environment"] || ENV["RAILS_ENV"] || ENV["RACK_ENV"] || "development").to_s
        end

        # What the server has told this process; empty where it is none of its.
        def options = defined?(PhusionPassenger::App) ? PhusionPassenger::App.options : {}
      end

      # A Connection. Raises Unavailable, with what is wrong and what to do.
      def connect
        failures = []
        own(failures) || found(failures) || raise(Unavailable, explanation(failures))
      end

      private

      # When the instance directory has had to be made anew it may have another name; then it is looked for.
      def own(failures)
        path = Locator.options["cable_socket"] or return
        open(path, failures)
      end

      def found(failures)
        instances(failures).each do |instance|
          connection = open(File.join(instance[:directory], "agents.s", "cable"), failures, uids: [instance[:uid]])
          return connection if connection
        end
        nil
      end

      def open(path, failures, uids: nil)
        Connection.open(path) do |connection|
          uid = connection.peer_uid
          raise Unavailable, "it is run by the user #{uid}, to whom its directory does not belong" unless uids.nil? || uids.include?(uid)
        end
      rescue Errno::ECONNREFUSED, Errno::ENOENT
        failures << "nobody listens on #{path} (any more)"
        nil
      rescue Unavailable, SystemCallError => e
        failures << "#{path}: #{e.message}"
        nil
      end

      # Those of this application, the newest first.
      def instances(failures)
        found = registries.flat_map { |registry| Dir.glob(File.join(registry, "passenger.*", "properties.json")) }
        found.filter_map { |path| instance(path, failures) }.sort_by { |instance| -instance[:created_at] }
      end

      def instance(path, failures)
        directory = File.dirname(path)
        owner = File.lstat(directory)
        properties = JSON.parse(text_of(path))
        return unless owner.directory? && same_root?(properties["app_root"])

        return skip(failures, "the server in #{directory} belongs to another user (#{owner.uid})") unless trusted.include?(owner.uid)

        environment = properties["environment"]
        return skip(failures, "the server in #{directory} runs the environment #{environment}") unless environment == @environment

        { directory: directory, uid: owner.uid, created_at: Integer(properties.dig("instance_dir", "created_at_monotonic_usec")) }
      rescue SystemCallError
        nil # it has just gone
      rescue JSON::ParserError, TypeError, ArgumentError => e
        skip(failures, "#{path} is not what a server writes (#{e.class})")
      end

      # Not held up by whatever another user may have put there under this name
      def text_of(path)
        File.open(path, File::RDONLY | File::NONBLOCK) { |file| file.stat.file? ? file.read(LARGEST_PROPERTIES) : nil }.to_s
      end

      def skip(failures, reason)
        failures << reason
        nil
      end

      # Anybody can make a directory in /tmp that looks like that of a server.
      def trusted
        return [Process.euid, 0] unless Process.euid.zero?

        [0, File.stat(@app_root).uid]
      end

      # A deployment moves the link that the server was started with; a console knows the real directory.
      def same_root?(path)
        path.is_a?(String) && (path == @app_root || File.realpath(path) == File.realpath(@app_root))
      rescue SystemCallError
        false
      end

      def registries = [@env["PASSENGER_INSTANCE_REGISTRY_DIR"], @env["TMPDIR"], "/tmp"].reject { |path| path.to_s.empty? }.uniq

      def explanation(failures)
        "Action Cable's adapter passenger needs the application to be served by passenger: no running server of #{@app_root} " \
          "(#{@environment}) was found#{failures.map { |failure| "; #{failure}" }.join}. Looked for in #{registries.join(", ")}: if the server " \
          "runs with another instance_registry_dir, set PASSENGER_INSTANCE_REGISTRY_DIR to that. To broadcast without a server, choose " \
          "another adapter in config/cable.yml"
      end
    end
  end
end
