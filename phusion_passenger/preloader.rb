# frozen_string_literal: true

# Loads an application once and forks its workers. The engine runs this file with a control socket as descriptor 3; the
# Rack handler uses PhusionPassenger::Preloader.run_with_app.
#
# Nothing is required here but this directory's own files and the extension, all by their absolute path: a library that
# is a default gem (socket, json, stringio, set …) would be activated in a version that the application's bundle may
# not want.

require_relative "log"
require_relative "control"
require_relative "redaction"
require_relative "boot_error"
require_relative "fork_safety"
require_relative "app_loader"
require_relative "app_facts"
require_relative "worker"

module PhusionPassenger
  # The process between the engine and the workers of one generation. It outlives none of its engine and serves nothing
  # itself.
  class Preloader
    # Where the engine puts the control socket of a preloader that it starts
    CONTROL_FD = 3
    # Milliseconds from the end of the engine to the end of a preloader, which may be in the middle of loading
    HANGUP_GRACE = 900
    # What workers need to know from the engine's hello
    Settings = Struct.new(:app_root, :environment, :server_software, :threads, :capacity, :x_accel_mapping)

    class << self
      # For the process that the engine has started: reads the engine's hello from the control socket, loads the
      # application, forks workers on command, exits with the engine.
      def run
        $stdin.reopen(File::NULL) # an application that reads standard input must not wait for it
        Process.setproctitle("Passenger AppPreloader")
        start(CONTROL_FD)
      end

      # For the Rack handler: to be called, as the last thing, in a process that was just forked from the one that has
      # booted the application.
      #
      # app::        the Rack application (any object that responds to call)
      # control_fd:: descriptor of this process' end of the control socket. A pair of them is made before the fork with
      #              PhusionPassenger::Native.socketpair(:seqpacket); the other end is the engine's (its options
      #              preloader_fd and preloader_pid), and must be closed in this process before the call, as everything
      #              else that only the server process needs (sockets it listens on, pipes).
      #
      # Does not return: the process exits with the engine. Handlers that were registered with at_exit before the fork
      # don't run in it, nor in its workers. Standard input stays what it is, so that binding.irb works.
      def run_with_app(app, control_fd)
        skip_inherited_exit_handlers
        Signals.reset
        start(control_fd, app)
      end

      private

      def start(control_fd, app = nil)
        load_native
        Native.close_on_exec(control_fd)
        # Also when the application has put something else in the place of standard output: loggers keep STDOUT.
        [$stdout, $stderr, STDOUT].each { |io| io.sync = true if io.respond_to?(:sync=) }
        new(Control.new(control_fd), app).run
      end

      def load_native
        require_relative "../lib/phusion_passenger/version"
        require_relative "public_api"
        return if defined?(Native)

        require native_path
      end

      # RubyGems puts the extension next to the Ruby files, or, if told so, only into a directory of its own.
      def native_path
        root = File.expand_path("..", __dir__)
        beside = File.join(root, "lib/phusion_passenger/native.so")
        return beside if File.file?(beside) || !defined?(Gem)

        apart = File.expand_path("../../extensions/#{Gem::Platform.local}/#{Gem.extension_api_version}/" \
                                 "#{File.basename(root)}/phusion_passenger/native.so", root)
        File.file?(apart) ? apart : beside
      end

      # Handlers run in reverse order, so this one comes after all that are registered from now on, and ends the process
      # before those that belong to the parent (which remove its pid file, for example).
      def skip_inherited_exit_handlers
        at_exit do
          status = exit_status($!) # rubocop:disable Style/SpecialGlobalVars
          flush_files
          GC.start # finalizers, such as those that remove temporary files
          exit!(status)
        end
      end

      # As the process would have ended by itself; exit! leaves out that Ruby reports the error.
      def exit_status(error)
        case error
        when nil then 0
        when SystemExit then error.status
        when SignalException then 128 + error.signo
        else
          Log.exception("*** #{error.class} has ended the process", error)
          1
        end
      end

      # exit! leaves out what Ruby would do for files that were written to and not closed.
      def flush_files
        ObjectSpace.each_object(IO) do |io|
          io.flush unless io.closed?
        rescue IOError, SystemCallError
          next # not open for writing, or nobody reads any more
        end
      end
    end

    def initialize(control, app = nil)
      @control = control
      @app = app
      @workers = {} # pid => number
      @mailbox = Thread::Queue.new
    end

    # Does not return.
    def run
      ignore_interrupts
      Native.exit_after_hangup(@control.fd, HANGUP_GRACE)
      hello = receive_hello or exit
      load(hello)
      @control.post("loaded", { "pid" => Process.pid, **@facts })
      serve
      exit
    rescue Native::Disconnected
      exit # the engine has gone
    end

    private

    # Ctrl-C in a terminal reaches this process too; the engine says when it is over. Inherited by the workers, so that
    # there is no moment at which it would end one.
    def ignore_interrupts
      trap("INT", "IGNORE")
      trap("HUP", "IGNORE")
    end

    def receive_hello
      hello = @control.receive or return
      if hello.verb != "hello" || hello.fds.size != 2
        raise Native::ProtocolError, "the engine began with #{hello.verb} and #{hello.fds.size} descriptors instead of " \
                                     "hello and 2"
      end
      @queue, @scoreboard = hello.fds
      @settings = Settings.new(hello.fetch("app_root"), hello.fetch("environment"), hello.fetch("server_software"),
                               hello.fetch("threads").to_i, hello.fetch("capacity").to_i,
                               hello.fields["x_accel_mapping"].to_s)
      hello
    end

    def load(hello)
      Process.setproctitle("Passenger AppPreloader: #{@settings.app_root}")
      publish_options(hello)
      loader = AppLoader.new(hello)
      if @app
        loader.mark
      else
        loader.enter
        @app = loader.load
      end
      App.app = @app
      ignore_interrupts # again: the application may have trapped them
      load_libraries
      @facts = AppFacts.new.fields
      settle_memory
    rescue Exception => e # rubocop:disable Lint/RescueException -- exit, syntax errors and all
      report_boot_error(e)
      exit(1)
    end

    # Default gems, so only now that the application has chosen their versions: request bodies are StringIOs, and Rack 2's
    # Lint relies on its server for URI.
    def load_libraries
      require "stringio"
      require "uri"
    end

    def publish_options(hello)
      App.options.update(
        "app_root" => @settings.app_root, "app_env" => @settings.environment, "environment" => @settings.environment,
        "app_type" => "rack", "app_group_name" => "#{@settings.app_root} (#{@settings.environment})", "base_uri" => "/",
        "startup_file" => hello.fetch("startup_file"), "spawn_method" => "smart", "process_title" => "Passenger RubyApp",
        "passenger_root" => File.expand_path("..", __dir__), "passenger_version" => VERSION_STRING,
        "ruby_libdir" => File.expand_path("../lib", __dir__), "integration_mode" => "standalone"
      )
    end

    def report_boot_error(error)
      report = BootError.new(error, @settings.app_root)
      Log.write(report.to_s)
      @control.post("boot_error", report.fields)
    end

    # Workers share the memory of this process as long as neither writes to it: what has survived loading is moved to
    # the old generation and together. In development there is one worker, and starting quickly matters more.
    def settle_memory
      ForkSafety.before_fork
      return if @settings.environment == "development"

      if Process.respond_to?(:warmup) # Ruby 3.3
        Process.warmup
      else
        3.times { GC.start } # an object is old after three collections
        GC.compact if GC.respond_to?(:compact)
      end
    rescue NotImplementedError
      Log.write("this platform can't compact memory; workers will share less of it")
    end

    def serve
      trap("CHLD") { @mailbox << :child_ended }
      listen_to_engine
      loop do
        case (event = @mailbox.pop)
        when :engine_gone then return
        when :child_ended then reap
        when Exception then raise event
        else obey(event)
        end
      end
    end

    # The main thread forks, so that it is the main thread of the worker, too; this one waits for commands.
    def listen_to_engine
      Thread.new do
        Thread.current.name = "passenger control"
        while (message = @control.receive)
          @mailbox << message
        end
        @mailbox << :engine_gone
      rescue StandardError => e
        @mailbox << e
      end
    end

    def obey(message)
      if message.verb == "spawn"
        spawn_worker(message)
      else
        message.fds.each { |fd| Native.close_fd(fd) }
        Log.write("the engine sent #{message.verb.inspect}, which this version of passenger does not know")
      end
    end

    def spawn_worker(message)
      number = message.fetch("worker")
      slots = message.fetch("slots").split(",").map { |slot| Integer(slot, 10) }
      control, *streams = message.fds
      if control.nil? || streams.size != slots.size
        raise Native::ProtocolError, "spawn of worker #{number}: #{message.fds.size} descriptors came for #{slots.size} slots"
      end
      pid = fork { become_worker(Control.new(control), streams, slots) }
      @workers[pid] = number
      @control.post("spawned", "worker" => number, "pid" => pid)
    rescue SystemCallError, NoMemoryError => e
      Log.write("worker #{number} could not be forked: #{e.message}")
      @control.post("spawn_error", "worker" => number, "message" => e.message)
    ensure
      message.fds.each { |fd| Native.close_fd(fd) }
    end

    def become_worker(control, streams, slots)
      @control.close
      Worker.new(@app, @settings, control: control, queue: @queue, scoreboard: @scoreboard, streams: streams,
                                  slots: slots).run
    end

    # Only the workers: children that the application has started are its own business.
    def reap
      @workers.keys.each do |pid|
        ended, status = Process.wait2(pid, Process::WNOHANG)
        next unless ended

        number = @workers.delete(pid)
        @control.post("exited", "worker" => number, "pid" => pid, "status" => describe(status))
      rescue Errno::ECHILD
        number = @workers.delete(pid) # the application has waited for all children
        @control.post("exited", "worker" => number, "pid" => pid, "status" => "unknown")
      end
    end

    def describe(status)
      status.signaled? ? "signal #{status.termsig}" : "exit #{status.exitstatus}"
    end
  end
end

PhusionPassenger::Preloader.run if $PROGRAM_NAME == __FILE__
