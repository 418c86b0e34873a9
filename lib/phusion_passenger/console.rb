# frozen_string_literal: true

require_relative "version"

module PhusionPassenger
  # What a server says to the person who has started it; coloured only on a terminal.
  class Console
    def initialize(out, err = $stderr)
      @out = out
      @err = err
      @colour = out.tty? && ENV["NO_COLOR"].to_s.empty? && ENV["TERM"] != "dumb"
    end

    # Says nothing from now on.
    def mute
      @out = File.open(File::NULL, "w")
    end

    # Makes what the server and the application print go to a file. The standard streams themselves are turned over, as
    # the application's processes inherit those. The console stays with the person at the terminal, if there is one.
    def redirect_streams(log_file, terminal:)
      @out, @err = @out.dup, @err.dup if terminal
      log = File.open(log_file, File::WRONLY | File::CREAT | File::APPEND, 0o644)
      [$stdout, $stderr].each do |stream|
        stream.flush
        stream.reopen(log)
        stream.sync = true
      end
    ensure
      log&.close
    end

    # The rows are pairs of a label and a text.
    def banner(title, rows)
      say(bold(title), *rows.map { |label, text| format("  %-12s %s", label, text) }, "Press Ctrl-C to stop.")
    end

    def stopping(way, seconds)
      return say("Stopping at once.") if way == "force"

      say("Stopping; requests in flight have #{seconds} s to finish. A second signal stops at once.")
    end

    # Without a log file the reason is on the terminal already.
    def boot_error(id, log_file)
      say("The application could not start (error id #{id}); the reason is in #{log_file}.") if log_file
    end

    # For what has gone wrong.
    def complain(text)
      @err.puts(text)
    rescue Errno::EIO, Errno::EPIPE
      nil # nobody is there to hear it
    end

    # The terminal may have been closed; that is no reason for a server to fail.
    def say(*lines)
      @out.puts(*lines)
      @out.flush
    rescue Errno::EIO, Errno::EPIPE
      mute
    end

    def bold(text) = paint(text, 1)

    def green(text) = paint(text, 32)

    private

    def paint(text, code) = @colour ? "\e[#{code}m#{text}\e[0m" : text
  end
end
