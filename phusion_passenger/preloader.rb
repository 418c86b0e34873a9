# frozen_string_literal: true

# The engine runs this file, with a control socket as descriptor 3, for every process that loads an application; the Rack
# handler uses PhusionPassenger::Preloader.run_with_app.
#
# Nothing is required here but this directory's own files and the extension, all by their absolute path: a library that
# is a default gem (socket, json, stringio, set …) would be activated in a version that the application's bundle may
# not want.

require_relative "log"
require_relative "control"
require_relative "exit_handlers"
require_relative "redaction"
require_relative "fork_safety"
require_relative "loader"
require_relative "spawn_order"

module PhusionPassenger
  # The process between the engine and the workers of one generation, once it has the application. It outlives none of its
  # engine and serves nothing itself.
  class Preloader
    # Where the engine puts the control socket of a process that it starts
    CONTROL_FD = 3

    class << self
      # For the process that the engine has started: reads the engine's hello from the control socket, loads the
      # application, and does what the engine wants with it; exits with the engine.
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
        ExitHandlers.leave_out_inherited
        Signals.reset
        start(control_fd, app)
      end

      # To be called in a process that will fork workers: they share its memory as long as neither writes to it, so what
      # has survived loading is moved to the old generation and together. In development there is one worker, and starting
      # quickly matters more.
      def settle(environment)
        ForkSafety.before_fork
        return if environment == "development"

        if Process.respond_to?(:warmup) # Ruby 3.3
          Process.warmup
        else
          3.times { GC.start } # an object is old after three collections
          GC.compact if GC.respond_to?(:compact)
        end
      rescue NotImplementedError
        Log.write("this platform can't compact memory; workers will share less of it")
      end

      private

      # A process has one role after the other: it loads the application, forks from it, is such a fork and serves, may load
      # no more and fork again. Each role returns the next one, instead of running it, so that the stack of a process that
      # descends from many generations is no deeper than that of the first.
      def start(control_fd, app = nil)
        load_native
        Native.close_on_exec(control_fd)
        # Also when the application has put something else in the place of standard output: loggers keep STDOUT.
        [$stdout, $stderr, STDOUT].each { |io| io.sync = true if io.respond_to?(:sync=) }
        role = Loader.new(Control.new(control_fd), app)
        role = role.run while role
        exit
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
    end

    # control: the control socket on which the application was loaded; app: LoadedApp
    def initialize(control, app)
      @control = control
      @app = app
      @workers = {} # pid => number
      @mailbox = Thread::Queue.new
      @obeyed = Thread::Queue.new
    end

    # Returns a Worker in every process that is forked here, and nil in this one when the engine has gone.
    def run
      trap("CHLD") { @mailbox << :child_ended }
      listen_to_engine
      loop do
        case (event = @mailbox.pop)
        when :engine_gone
          reap # who ended last is left to nobody
          return
        when :child_ended then reap
        when Exception then raise event
        else
          worker = obey(event)
          return worker if worker

          @obeyed << event
        end
      end
    rescue Native::Disconnected
      nil # the engine has gone
    end

    private

    # The main thread forks, so that it is the main thread of the worker, too; this one waits for commands. One at a time: the
    # descriptors that come with the next one must not be there yet when a worker is forked, which would keep them.
    def listen_to_engine
      Thread.new do
        Thread.current.name = "passenger control"
        while (message = @control.receive)
          @mailbox << message
          @obeyed.pop
        end
        @mailbox << :engine_gone
      rescue StandardError => e
        @mailbox << e
      end
    end

    # The worker, in a process that was forked to be one
    def obey(message)
      return @control.refuse(message) unless message.verb == "spawn"

      order = SpawnOrder.new(message)
      pid = fork_worker(order)
      return order.to_worker(@app, forked: true) if pid.nil?

      order.close
      return if pid == :failed

      @workers[pid] = order.worker
      @control.post("spawned", "worker" => order.worker, "pid" => pid)
      nil
    end

    # The process id, nil in the child, or :failed
    def fork_worker(order)
      # A worker needs the descriptors of the generation; processes that the application forks don't get them.
      Native.close_on_fork([@control.fd])
      pid = fork
      Native.close_on_fork([@control.fd, @app.queue, @app.scoreboard]) if pid
      pid
    rescue SystemCallError, NoMemoryError => e
      Native.close_on_fork([@control.fd, @app.queue, @app.scoreboard])
      Log.write("worker #{order.worker} could not be forked: #{e.message}")
      @control.post("spawn_error", "worker" => order.worker, "message" => e.message)
      :failed
    end

    # Only the workers: children that the application has started are its own business.
    def reap
      @workers.keys.each do |pid|
        ended, status = Process.wait2(pid, Process::WNOHANG)
        next unless ended

        report_end(pid, describe(status))
      rescue Errno::ECHILD
        report_end(pid, "unknown") # the application has waited for all children
      end
    end

    def report_end(pid, status)
      number = @workers.delete(pid)
      @control.post("exited", "worker" => number, "pid" => pid, "status" => status)
    rescue Native::Disconnected
      nil # the engine, which has gone, need not know
    end

    def describe(status)
      status.signaled? ? "signal #{status.termsig}" : "exit #{status.exitstatus}"
    end
  end
end

PhusionPassenger::Preloader.run if $PROGRAM_NAME == __FILE__
