# frozen_string_literal: true

require_relative "bundle"

module PhusionPassenger
  # Turns a directory with a config.ru into a Rack application.
  class AppLoader
    # hello: the engine's message of that name
    def initialize(hello)
      @app_root = hello.fetch("app_root")
      @startup_file = hello.fetch("startup_file")
      @environment = hello.fetch("environment")
      @server_software = hello.fetch("server_software")
      @log_to_stdout = hello.fields["log_to_stdout"] == "1"
    end

    # Changes into the application's directory and sets what its code expects of its environment.
    def enter
      Dir.chdir(@app_root)
      # The logical path: an application that looks here sees `current`, not the release that the link points to.
      ENV["PWD"] = @app_root
      ENV["RAILS_ENV"] = @environment
      ENV["RACK_ENV"] = @environment
      ENV["NODE_ENV"] ||= @environment
      mark
    end

    # What also holds for an application that was loaded elsewhere.
    def mark
      ENV["IN_PASSENGER"] = "1"
      ENV["PASSENGER_APP_ENV"] = @environment
      ENV["SERVER_SOFTWARE"] = @server_software
    end

    # The Rack application. Raises whatever the application raises.
    def load
      unless File.file?(@startup_file)
        raise LoadError, "#{@startup_file} does not exist. It is the file that tells how the application is started; " \
                         "another one can be chosen with --rackup"
      end
      Bundle.new(@app_root).set_up
      require "rack"
      # Rack 2 returns [app, options], Rack 3 the app.
      app, = *::Rack::Builder.parse_file(@startup_file)
      log_to_stdout if @log_to_stdout
      app
    end

    private

    # As `rails server` does it in development: what goes to log/development.log is also seen in the terminal.
    def log_to_stdout
      return unless defined?(Rails.logger) && Rails.logger && defined?(ActiveSupport::Logger)

      logger = Rails.logger
      return if ActiveSupport::Logger.respond_to?(:logger_outputs_to?) &&
                ActiveSupport::Logger.logger_outputs_to?(logger, $stdout, $stderr, STDOUT, STDERR)

      console = ActiveSupport::Logger.new($stdout)
      console.formatter = logger.formatter
      console.level = logger.level
      if logger.respond_to?(:broadcast_to) # Rails 7.1
        logger.broadcast_to(console)
      elsif ActiveSupport::Logger.respond_to?(:broadcast)
        logger.extend(ActiveSupport::Logger.broadcast(console))
      end
    end
  end
end
