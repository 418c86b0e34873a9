# frozen_string_literal: true

require_relative "version"
require_relative "option"

module PhusionPassenger
  # The `passenger` command: finds the subcommand and turns errors into one line and exit code 1.
  module CLI
    # A complaint for the person at the terminal; the message is complete.
    class Failure < StandardError; end

    # What shells report for a program that Ctrl-C has ended.
    INTERRUPTED = 130

    COMMANDS = {
      "start" => "Serve the application in this (or another) directory",
      "help" => "Show this help, or with a command's name that command's help",
      "version" => "Show the version"
    }.freeze

    class << self
      # Runs the command and returns its exit code. Complaints go to where standard error is now: a command may turn it
      # over to a log file later.
      def run(arguments, out: $stdout, err: $stderr.dup)
        command, *rest = arguments
        case command
        when nil, "help", "-h", "--help" then help(rest, out, err)
        when "version", "--version", "-v"
          out.puts("Passenger #{VERSION}")
          0
        when "start" then start(rest, out, err)
        else raise Failure, "passenger: unknown command #{command.inspect}#{suggestion(command)}; see `passenger help`"
        end
      rescue Failure, OptionError => e
        err.puts(e.message)
        1
      rescue Interrupt
        INTERRUPTED # before the server was there to stop in order
      end

      private

      def help(arguments, out, err)
        command = arguments.first
        return run([command, "--help"], out: out, err: err) if command == "start"
        unless command.nil? || COMMANDS.key?(command)
          raise Failure, "passenger help: unknown command #{command.inspect}#{suggestion(command)}"
        end

        out.puts("Usage: passenger COMMAND [OPTIONS]", "", "Commands:")
        COMMANDS.each { |name, summary| out.puts(format("  %-10s %s", name, summary)) }
        out.puts("", "`passenger COMMAND --help` describes the options of a command.")
        0
      end

      def start(arguments, out, err)
        require_relative "cli/start"
        Start.new(arguments, out: out, err: err).run
      end

      def suggestion(command)
        require_relative "options"
        Options.suggestion(command, COMMANDS.keys)
      end
    end
  end
end
