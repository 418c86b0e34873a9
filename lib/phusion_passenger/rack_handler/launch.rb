# frozen_string_literal: true

require_relative "../console"
require_relative "../server"
require_relative "launch_settings"

module PhusionPassenger
  module RackHandler
    # Serves an application that is loaded already.
    #
    # The order matters: first a preloader is forked, which keeps the loaded application and forks the workers from it; then
    # this process loads the engine and becomes the server. The other way round Go's runtime would be in the forked
    # processes, where it doesn't work.
    class Launch
      # How long a preloader that was told to go may take.
      PRELOADER_GOODBYE = 5

      def initialize(app, options)
        @app = app
        @options = options
        @console = Console.new($stdout)
      end

      # Returns when the server has stopped. A failure ends a command (`rails server`) with one line; in another thread
      # than the main one, where a test suite runs its server, it is raised.
      def run(&block)
        serve(&block)
      rescue OptionError, Engine::Error => e
        raise unless Thread.current == Thread.main

        @console.complain("passenger: #{e.message}")
        exit(1)
      end

      private

      def serve(&block)
        launch = settings
        @settings = launch.settings
        Dir.chdir(@settings.app_root) if @options[:daemonize]
        open_log(launch)
        # Several processes write there; what one of them says must be seen when it says it, also in a file or a pipe.
        [$stdout, $stderr].each { |stream| stream.flush.sync = true }
        @console.mute if launch.silent?
        launch.warnings.each { |warning| @console.complain("passenger: #{warning}") }
        @settings.notes.each { |note| $stderr.puts("passenger: #{note}") } # into the log, if there is one
        Engine.load_native
        fork_preloader
        begin
          server(launch).run(&block)
        rescue Engine::Error
          end_preloader
          raise
        end
      end

      # In the background nobody would see the complaint about an option.
      def settings
        LaunchSettings.new(@options)
      rescue OptionError
        log = LaunchSettings.emergency_log_file(@options)
        @console.redirect_streams(log, terminal: false) if log
        raise
      end

      def open_log(launch)
        @log_file = launch.log_file or return
        @console.redirect_streams(@log_file, terminal: !launch.background?)
      rescue SystemCallError => e
        raise OptionError, "the log file #{@log_file} can't be written (#{e.class.new.message}); " \
                           "name another with -O log_file=FILE or PASSENGER_LOG_FILE"
      end

      def server(launch)
        options = @settings.to_engine.merge(
          integration_mode: "rack_handler",
          preloader_fd: @control,
          preloader_pid: @preloader,
          log_to_stdout: launch.log_to_stdout?
        )
        options[:log_file] = @log_file if @log_file
        Server.new(Engine.new(options), shutdown_timeout: @settings[:shutdown_timeout]) { |event| report(event) }
      end

      # The child must not find open database connections, nor should this process keep any: it will never use them.
      def fork_preloader
        require Engine::PRELOADER
        ForkSafety.before_fork
        @control, preloader_end = Native.socketpair(:seqpacket)
        @preloader = fork do
          Native.close_fd(@control)
          Preloader.run_with_app(@app, preloader_end)
        end
        Native.close_fd(preloader_end)
      end

      # The engine could not be started, so nobody else does it.
      def end_preloader
        Process.kill("TERM", @preloader)
        deadline = now + PRELOADER_GOODBYE
        until Process.wait(@preloader, Process::WNOHANG)
          Process.kill("KILL", @preloader) if now > deadline
          sleep(0.01)
        end
      rescue Errno::ESRCH, Errno::ECHILD
        # The engine has ended and reaped it.
      end

      def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

      def report(event)
        case event.kind
        when :listening
          # Only now: a long title overwrites the memory from which Go, when it is loaded, reads the environment.
          Process.setproctitle("Passenger server: #{event.text} (#{@settings.app_root})")
          @console.say("* Passenger #{VERSION} listens on #{@console.green(event.text)}", "* Press Ctrl-C to stop")
        when :boot_error then @console.boot_error(event.text, @log_file)
        when :stopping then @console.stopping(event.text, @settings[:shutdown_timeout])
        end
      end
    end
  end
end
