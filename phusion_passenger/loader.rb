# frozen_string_literal: true

require_relative "app_facts"
require_relative "app_loader"
require_relative "boot_error"
require_relative "boot_threads"
require_relative "direct_spawn"
require_relative "loaded_app"

module PhusionPassenger
  # The first part of a process that the engine says hello to: it loads the application. What it does with it then is
  # another's business (run returns it): a Preloader forks workers, a DirectSpawn becomes one.
  class Loader
    # Milliseconds from the end of the engine to the end of this process, which may be in the middle of loading
    HANGUP_GRACE = 900
    TITLES = { "smart" => "Passenger AppPreloader", "direct" => "Passenger AppLoader" }.freeze

    # app::   the Rack application, if it has been loaded already
    # facts:: what was said about it then, if it was
    def initialize(control, app = nil, facts: nil)
      @control = control
      @app = app
      @facts = facts
      @threads = {}
    end

    def run
      @pid = Process.pid
      ignore_interrupts
      Native.exit_after_hangup(@control.fd, HANGUP_GRACE)
      Native.close_on_fork([@control.fd])
      hello = @control.receive or return
      understand(hello)
      load(hello)
      @control.post("loaded", { "pid" => Process.pid, **@facts, **@threads })
      successor
    rescue Native::Disconnected
      nil # the engine has gone
    end

    private

    def smart? = @spawn_method == "smart"

    def successor
      app = LoadedApp.new(rack_app: @app, facts: @facts, settings: @settings, queue: @queue, scoreboard: @scoreboard)
      smart? ? Preloader.new(@control, app) : DirectSpawn.new(@control, app)
    end

    # Ctrl-C in a terminal reaches this process too; the engine says when it is over. Inherited by the workers, so that
    # there is no moment at which it would end one.
    def ignore_interrupts
      trap("INT", "IGNORE")
      trap("HUP", "IGNORE")
    end

    def understand(hello)
      if hello.verb != "hello" || hello.fds.size != 2
        raise Native::ProtocolError, "the engine began with #{hello.verb} and #{hello.fds.size} descriptors instead of " \
                                     "hello and 2"
      end
      @spawn_method = hello.fields.fetch("spawn_method", "smart")
      unless TITLES.key?(@spawn_method)
        raise Native::ProtocolError, "control message hello: the spawn_method is smart or direct, not #{@spawn_method.inspect}"
      end
      @queue, @scoreboard = hello.fds
      Native.close_on_fork([@control.fd, *hello.fds])
      @settings = Settings.new(hello.fetch("app_root"), hello.fetch("environment"), hello.fetch("server_software"),
                               hello.fetch("threads").to_i, hello.fetch("capacity").to_i,
                               hello.fields["x_accel_mapping"].to_s)
    end

    def load(hello)
      Process.setproctitle("#{TITLES.fetch(@spawn_method)}: #{@settings.app_root}")
      publish_options(hello)
      threads = BootThreads.new
      load_app(AppLoader.new(hello))
      App.app = @app
      end_if_daemonized
      ignore_interrupts # again: the application may have trapped them
      load_libraries
      @facts ||= facts
      return unless smart?

      names = threads.report
      @threads = { "threads" => names } if names
      Preloader.settle(@settings.environment)
    rescue Exception => e # rubocop:disable Lint/RescueException -- exit, syntax errors and all
      # A child that the application has forked while it was loaded, and that now leaves, is none of the engine's business.
      raise if foreign?

      report_boot_error(e)
      exit(1)
    end

    def load_app(loader)
      return loader.mark if @app

      loader.enter
      @app = loader.load
    end

    def foreign? = Process.pid != @pid

    # The sockets have stayed with the process that the engine knows.
    def end_if_daemonized
      return unless foreign?

      Log.write("the application has put itself into the background while it was loaded (Process.daemon or fork): process " \
                "#{@pid} has become #{Process.pid}, which the server can't use and which ends now. A server that runs in the " \
                "background is started with --daemonize; a helper process must not go on loading the application")
      exit!(1)
    end

    # Default gems, so only now that the application has chosen their versions: request bodies are StringIOs, and Rack 2's
    # Lint relies on its server for URI.
    def load_libraries
      require "stringio"
      require "uri"
    end

    def facts
      level = concurrency
      { **AppFacts.new.fields, **(level ? { "concurrency" => level } : {}) }
    end

    def concurrency
      level = PhusionPassenger.advertised_concurrency_level
      return level if level.nil? || (level.is_a?(Integer) && level >= 1)
      # "Any number": connections that the application takes over are not counted anyway.
      return if level == 0 # rubocop:disable Style/NumericPredicate -- it may be anything

      Log.write("PhusionPassenger.advertised_concurrency_level was set to #{level.inspect} and is ignored: it says how many " \
                "requests at a time a process can handle, as an Integer of at least 1")
      nil
    end

    # Names that applications know from Passenger. Never a secret: applications print this Hash.
    def publish_options(hello)
      App.options.update(
        "app_root" => @settings.app_root, "app_env" => @settings.environment, "environment" => @settings.environment,
        "app_type" => "rack", "app_group_name" => "#{@settings.app_root} (#{@settings.environment})", "base_uri" => "/",
        "startup_file" => hello.fetch("startup_file"), "spawn_method" => @spawn_method, "process_title" => "Passenger RubyApp",
        "passenger_root" => File.expand_path("..", __dir__), "passenger_version" => VERSION_STRING,
        "ruby_libdir" => File.expand_path("../lib", __dir__), "integration_mode" => "standalone",
        "preload_bundler" => false, "load_shell_envvars" => false, "generic_app" => false, "starts_using_wrapper" => false,
        "UNIX_PATH_MAX" => 108 # Linux
      )
      # Where Action Cable's adapter `passenger` finds its broker, the engine
      cable = hello.fields["cable_socket"].to_s
      App.options["cable_socket"] = cable unless cable.empty?
    end

    def report_boot_error(error)
      report = BootError.new(error, @settings.app_root)
      Log.write(report.to_s)
      @control.post("boot_error", report.fields)
    end
  end
end
