# frozen_string_literal: true

require "io/console"
require "pty"

module Harness
  # Runs a server on a terminal of its own, as a person does: its output is what the screen shows, `type` is the keyboard.
  # Ctrl-C reaches every process of the terminal's foreground group, as it does in real life.
  module Terminal
    CTRL_C = "\x03"

    def start
      @output_path = File.join(Suite.new_directory("#{name}-on-terminal"), "screen.log")
      environment = Suite.environment({ "PWD" => directory, "TERM" => "dumb", **@environment })
      @screen, @keyboard, @pid = PTY.spawn(environment, *@argv, chdir: directory, unsetenv_others: true)
      @screen.winsize = [40, 120]
      @waiter = Process.detach(@pid)
      @reader = Thread.new { record }
      Command.running << self
      wait_until_listening
      self
    end

    def type(text)
      @keyboard.write(text)
      @keyboard.flush
    end

    # Closes the terminal, as somebody does who closes its window.
    def hang_up_now
      Process.kill(:HUP, @pid)
    end

    def wait(...)
      super.tap { hang_up }
    end

    private

    # The terminal ends with its last process; Linux reports that as an error.
    def record
      File.open(@output_path, "wb") do |file|
        file.sync = true
        loop { file.write(@screen.readpartial(4096)) }
      end
    rescue Errno::EIO, IOError
      nil
    end

    def hang_up
      @reader.join(1)
      [@screen, @keyboard].each { |side| side.close unless side.closed? }
    end
  end
end
