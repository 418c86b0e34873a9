# frozen_string_literal: true

require "fiddle"

module Harness
  # What the kernel says about processes, read from /proc. A process may vanish between two looks; every reader answers
  # with nil or an empty list then.
  module ProcFS
    GONE = [Errno::ENOENT, Errno::ESRCH, Errno::EACCES, Errno::EPERM].freeze
    PR_SET_CHILD_SUBREAPER = 36
    LISTEN_STATE = "0A"

    module_function

    # Orphans below this process become its children instead of init's, so whatever the suite starts stays findable.
    def adopt_orphans
      prctl = Fiddle::Function.new(Fiddle.dlopen(nil)["prctl"], [Fiddle::TYPE_INT] + [Fiddle::TYPE_LONG] * 4,
                                   Fiddle::TYPE_INT)
      return if prctl.call(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0).zero?

      raise "prctl(PR_SET_CHILD_SUBREAPER) failed: the suite could not tell which processes it leaves behind"
    end

    def pids
      Dir.children("/proc").grep(/\A\d+\z/).map(&:to_i)
    end

    # [state letter, parent's pid, process group]; the command's name may hold spaces and brackets.
    def stat(pid)
      fields = File.read("/proc/#{pid}/stat").rpartition(")").last.split
      [fields[0], fields[1].to_i, fields[2].to_i]
    rescue *GONE
      nil
    end

    def state(pid)
      stat(pid)&.first
    end

    def group(pid)
      stat(pid)&.last
    end

    # A zombie has ended; only its parent has not asked yet.
    def alive?(pid)
      letter = state(pid)
      !letter.nil? && letter != "Z" && letter != "X"
    end

    # Ended processes of a group that nobody has reaped.
    def zombies(group)
      pids.select { |candidate| (fields = stat(candidate)) && fields[0] == "Z" && fields[2] == group }
    end

    def parent(pid)
      stat(pid)&.at(1)
    end

    def children(pid)
      pids.select { |candidate| stat(candidate)&.at(1) == pid && alive?(candidate) }
    end

    def descendants(pid)
      parents = pids.filter_map { |candidate| (fields = stat(candidate)) && [candidate, fields] }
      found = [pid]
      found.each do |ancestor|
        parents.each { |candidate, (_, parent, _)| found << candidate if parent == ancestor }
      end
      found.drop(1).select { |candidate| alive?(candidate) }
    end

    # The line that ps shows.
    def title(pid)
      File.binread("/proc/#{pid}/cmdline").tr("\0", " ").strip
    rescue *GONE
      nil
    end

    def environment(pid)
      File.binread("/proc/#{pid}/environ").split("\0")
    rescue *GONE
      []
    end

    def descriptors(pid)
      Dir.children("/proc/#{pid}/fd").to_h { |fd| [fd.to_i, File.readlink("/proc/#{pid}/fd/#{fd}")] }
    rescue *GONE
      {}
    end

    def resident_bytes(pid)
      memory(pid, "VmRSS")
    end

    # The most memory that the process has had resident so far, bytes.
    def peak_resident_bytes(pid)
      memory(pid, "VmHWM")
    end

    def memory(pid, field)
      File.read("/proc/#{pid}/status")[/^#{field}:\s+(\d+) kB/, 1].to_i * 1024
    rescue *GONE
      0
    end

    def threads(pid)
      Dir.children("/proc/#{pid}/task").size
    rescue *GONE
      0
    end

    # Files a process has mapped, for "is this library loaded here?".
    def maps(pid)
      File.readlines("/proc/#{pid}/maps", chomp: true).filter_map { |line| line.split(nil, 6)[5] }.uniq
    rescue *GONE
      []
    end

    def listening_ports
      %w[/proc/net/tcp /proc/net/tcp6].flat_map do |table|
        next [] unless File.exist?(table)

        File.readlines(table).drop(1).map(&:split).select { |row| row[3] == LISTEN_STATE }
            .map { |row| row[1].rpartition(":").last.hex }
      end.uniq
    end

    def describe(pid)
      "#{pid} (#{state(pid)}) #{title(pid)}"
    end
  end
end
