# frozen_string_literal: true

require_relative "../console"
require_relative "../pid_file"
require_relative "../server"
require_relative "../settings"
require_relative "start_arguments"

module PhusionPassenger
  module CLI
    # `passenger start`: serves one application in the foreground until INT or TERM.
    class Start
      def initialize(arguments, out:, err:)
        @arguments = arguments
        @out = out
        @err = err
      end

      # Returns the exit code.
      def run
        arguments = StartArguments.parse(@arguments)
        return show_help(arguments) if arguments.help?

        @app_root = arguments.directory ? directory(arguments.directory) : LogicalPath.pwd
        @settings = settings(arguments)
        check_startup_file
        serve
      rescue Engine::Error, PidFile::Taken => e
        fail_with(e.message)
      rescue OptionError => e
        fail_with("#{e.message}; see `passenger start --help`")
      end

      private

      def fail_with(message)
        raise Failure, "passenger start: #{message}"
      end

      def show_help(arguments)
        @out.puts(arguments.usage)
        0
      end

      def settings(arguments)
        options = Options.for(:start)
        Settings.new(app_root: @app_root, layers: [Settings.environment_layer(options), arguments.layer])
      end

      def directory(path)
        full = File.expand_path(path, LogicalPath.pwd)
        fail_with("there is no directory #{full}") unless File.directory?(full)
        full
      end

      def check_startup_file
        file = @settings[:startup_file]
        return File.open(file, &:close) if File.file?(file)

        fail_with("there is no application in #{@app_root}: #{file} is missing; " \
                  "name the application's directory (passenger start DIR) or its rackup file (--rackup FILE)")
      rescue Errno::EACCES
        fail_with("#{file} can't be read by user #{Process.euid}; give that user permission to read it")
      end

      def serve
        @console = Console.new(@out, @err)
        @pid_file = PidFile.new(@settings[:pid_file])
        writing("pid file", :pid_file) { @pid_file.acquire }
        writing("log file", :log_file) { |log_file| @console.redirect_streams(log_file, terminal: true) } if @settings[:log_file]
        @settings.notes.each { |note| $stderr.puts("passenger: #{note}") } # into the log, if there is one
        Server.new(engine, shutdown_timeout: @settings[:shutdown_timeout]) { |event| report(event) }.run
      ensure
        @pid_file&.release
      end

      def writing(what, name)
        yield @settings[name]
      rescue SystemCallError => e
        reason = e.class.new.message
        fail_with("the #{what} #{@settings[name]} can't be written (#{reason}); name another with --#{Options[name].long.first}")
      end

      def engine
        Engine.new(@settings.to_engine.merge(integration_mode: "standalone", log_to_stdout: false))
      end

      def report(event)
        case event.kind
        when :listening then listening(event.text)
        when :boot_error then @console.boot_error(event.text, @settings[:log_file])
        when :stopping then @console.stopping(event.text, @settings[:shutdown_timeout])
        end
      end

      # The title is set only now: a long one overwrites the memory from which Go, when it is loaded, reads the
      # environment.
      def listening(url)
        Process.setproctitle("Passenger server: #{url} (#{@app_root})")
        @console.banner(
          "Passenger #{VERSION} serves #{@app_root}",
          [
            ["URL", @console.green(url)],
            ["Environment", @settings[:environment]],
            ["Process", "#{Process.pid} (#{@settings[:pid_file]})"],
            ["Log", @settings[:log_file] || "standard output"]
          ]
        )
      end
    end
  end
end
