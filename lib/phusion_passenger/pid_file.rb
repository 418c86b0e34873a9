# frozen_string_literal: true

module PhusionPassenger
  # The file that says which process is the server. The server holds a lock on it as long as it lives, so that a file left
  # behind by a server that was killed is recognised even when its process id belongs to somebody else by now.
  class PidFile
    # Another server is alive according to the file.
    class Taken < StandardError; end

    attr_reader :path

    def initialize(path)
      @path = path
    end

    # Writes this process's id. Raises Taken, or a SystemCallError if the file can't be written.
    def acquire
      @file = lock
      pid = other_server(@file)
      raise Taken, taken_message(pid) if pid

      @file.rewind
      @file.truncate(0)
      @file.write("#{Process.pid}\n")
      @file.flush
    rescue Taken
      @file&.close
      raise
    end

    # Removes the file, if this process has written it.
    def release
      return unless @file

      File.unlink(path) if owned?
      @file.close
      @file = nil
    end

    private

    # Somebody may remove the file between opening and locking it; the lock would then be on a file that has no name.
    def lock
      loop do
        file = File.open(path, File::RDWR | File::CREAT, 0o644)
        unless file.flock(File::LOCK_EX | File::LOCK_NB)
          pid = file.read.to_i
          file.close
          raise Taken, taken_message(pid)
        end
        return file if same_file?(file)

        file.close
      end
    end

    def same_file?(file)
      named = File.stat(path)
      open = file.stat
      [named.dev, named.ino] == [open.dev, open.ino]
    rescue Errno::ENOENT
      false
    end

    # The original Passenger uses the same file names and doesn't lock them.
    def other_server(file)
      pid = file.read.to_i
      return if pid <= 0 || pid == Process.pid

      Process.kill(0, pid)
      command_line(pid).match?(/passenger/i) ? pid : nil
    rescue Errno::ESRCH
      nil
    rescue Errno::EPERM
      command_line(pid).match?(/passenger/i) ? pid : nil
    end

    def command_line(pid)
      File.read("/proc/#{pid}/cmdline")
    rescue Errno::ENOENT
      File.directory?("/proc/self") ? "" : IO.popen(["ps", "-o", "command=", "-p", pid.to_s], &:read)
    end

    def owned?
      same_file?(@file)
    end

    def taken_message(pid)
      "already running#{" as process #{pid}" if pid.positive?} (pid file #{path})"
    end
  end
end
