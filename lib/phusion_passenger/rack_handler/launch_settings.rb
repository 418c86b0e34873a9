# frozen_string_literal: true

require_relative "../logical_path"
require_relative "../settings"

module PhusionPassenger
  module RackHandler
    # What the options that Rails and Rack hand to a handler mean for the server.
    #
    # From low to high: the built-in defaults; what suits development; what Rails has put in as its own default; PASSENGER_*
    # variables; what was asked for (`rails server -p 4000`, `rackup -O max_pool_size=2`).
    class LaunchSettings
      # In development people expect one process with a few threads: the `async` Action Cable adapter, in-memory caches
      # and `binding.irb` work. RAILS_MAX_THREADS also sizes the database connection pool in Rails' own configuration.
      DEVELOPMENT_THREADS = 5

      # Names of Rack's and of other servers for our options.
      SYNONYMS = { Port: :port, Host: :address, threads: :thread_count, Threads: :thread_count }.freeze

      # How to call them in a message.
      PLACES = { Port: "the port", Host: "the address" }.freeze

      # Options of Rack and Rails that are not meant for handlers, or that this class reads itself.
      FRAMEWORK_OPTIONS = %i[
        AccessLog DoNotReverseLookup Silent Verbose app builder caching config daemonize debug environment
        heapfile include log_stdout pid profile_file profile_mode quiet require restart_cmd server user_supplied_options warn
      ].freeze

      attr_reader :settings, :warnings

      class << self
        # Where a complaint about the options themselves goes; nil: to the terminal.
        def emergency_log_file(options)
          return unless background?(options)

          base = working_directory(options)
          File.join(File.directory?("#{base}/log") ? "#{base}/log" : base, "passenger.log")
        end

        # Rack has put the process into the background and connected the standard streams to nothing (`rails server -d`,
        # `rackup -D`).
        def background?(options) = options[:daemonize] && options[:daemonize] != :noclose ? true : false

        # Rack has changed to / on the way into the background.
        def working_directory(options)
          here = Dir.pwd
          rails_root || LogicalPath.of(options[:daemonize] && here == "/" ? LOADED_IN : here)
        end

        def rails_root
          root = ::Rails.root if defined?(::Rails) && ::Rails.respond_to?(:root)
          root && LogicalPath.of(root.to_s)
        end
      end

      def initialize(options)
        @options = options
        @warnings = unknown_options
        @base = self.class.working_directory(options)
        @settings = Settings.new(app_root: app_root, layers: layers)
      end

      def background? = self.class.background?(@options)

      # nil: the standard streams stay what they are.
      def log_file
        @settings[:log_file] || (background? ? Options.default_log_file(@settings) : nil)
      end

      # A test suite that runs the server itself wants no greeting (`Silent: true`, `rackup -q`).
      def silent? = [@options[:Silent], @options[:quiet]].any?

      # Rails shows its log in the terminal in development; processes that are started later must do the same.
      def log_to_stdout? = @options[:log_stdout] ? true : false

      private

      def layers
        supplied, assumed = handler_options.partition { |key, _| supplied?(key) }
        [
          development_layer,
          layer(assumed),
          Settings.environment_layer(Options.for(:rack_handler), base: @base),
          layer(supplied),
          layer({ environment: environment, startup_file: startup_file })
        ]
      end

      def layer(pairs)
        named = pairs.to_h { |key, value| [SYNONYMS.fetch(key, key), value] }
        places = pairs.to_h { |key, _| [SYNONYMS.fetch(key, key), PLACES.fetch(key, "option #{key}")] }
        Settings::Layer.new(named, places, @base)
      end

      # Rack always has a port and an address for us; a socket is there only because somebody wants it.
      def handler_options
        given = @options.select { |key, value| option(key) && !value.nil? && value != "" }
        given[:socket_file] ? given.except(:Port, :Host) : given
      end

      def option(key)
        name = SYNONYMS.fetch(key, key)
        Options.for(:rack_handler).find { |candidate| candidate.name == name }
      end

      # Rails says which options somebody has typed; Rack doesn't, so all of them count.
      def supplied?(key)
        typed = @options[:user_supplied_options]
        typed.nil? || typed.include?(key) || !%i[Port Host].include?(key)
      end

      def development_layer
        return layer({}) unless environment == "development"

        threads = ENV["RAILS_MAX_THREADS"].to_s
        Settings::Layer.new({ max_pool_size: 1, thread_count: threads.empty? ? DEVELOPMENT_THREADS : threads },
                            { thread_count: "RAILS_MAX_THREADS" }, @base)
      end

      # Rails' own choice comes first: it has loaded the application by it. `rackup` always names an environment, which is
      # the one that it puts into RACK_ENV.
      def environment
        [ENV["RAILS_ENV"], @options[:environment]].each { |name| return name.to_s unless name.to_s.empty? }
        Options.environment_from(ENV)
      end

      def startup_file
        File.expand_path(@options[:config] || "config.ru", @base)
      end

      # config.ru lies in the application's directory; another rackup file may lie anywhere.
      def app_root
        return @base if self.class.rails_root || File.basename(startup_file) != "config.ru" || !File.file?(startup_file)

        LogicalPath.of(File.dirname(startup_file))
      end

      # `rackup -O` accepts anything. Other servers' options come along too, so this is no error, but a typing error should
      # not go unnoticed.
      def unknown_options
        known = Options.for(:rack_handler).map { |candidate| candidate.name.to_s } + SYNONYMS.keys.map(&:to_s)
        @options.filter_map do |key, value|
          next if option(key) || FRAMEWORK_OPTIONS.include?(key) || !(value.is_a?(String) || value == true)

          "option #{key} is not known and has no effect#{Options.suggestion(key.to_s, known)}"
        end
      end
    end
  end
end
