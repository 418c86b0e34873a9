# frozen_string_literal: true

require "etc"

module Bench
  # What /proc says about a process and all its descendants.
  module ProcessTree
    TICKS_PER_SECOND = Etc.sysconf(Etc::SC_CLK_TCK).to_f

    # `ticks` are the process's own, `reaped_ticks` those of the children that it has waited for.
    Entry = Struct.new(:pid, :parent, :state, :ticks, :reaped_ticks) do
      def title
        text = File.binread("/proc/#{pid}/cmdline").tr("\0", " ").strip
        text.force_encoding(Encoding::UTF_8).scrub("?")
      rescue Errno::ENOENT, Errno::ESRCH
        "" # It ended since it was listed.
      end

      def zombie?
        state == "Z"
      end

      def cpu_seconds
        (ticks + reaped_ticks) / TICKS_PER_SECOND
      end
    end

    # Resident and proportional set size and what the process shares with nobody, in bytes.
    Memory = Struct.new(:rss, :pss, :private) do
      def self.zero
        new(0, 0, 0)
      end

      def self.parse(text)
        kilobytes = text.scan(/^(\w+):\s+(\d+) kB$/).to_h { |name, value| [name, Integer(value, 10)] }
        new(*[kilobytes.fetch("Rss"), kilobytes.fetch("Pss"),
              kilobytes.fetch("Private_Clean") + kilobytes.fetch("Private_Dirty")].map { |kb| kb * 1024 })
      end

      def +(other)
        Memory.new(rss + other.rss, pss + other.pss, private + other.private)
      end
    end

    module_function

    # The name in parentheses may itself hold blanks and parentheses, so fields are counted from the last one.
    def parse_stat(text)
      pid = Integer(text[/\A\d+/], 10)
      fields = text[(text.rindex(")") + 2)..].split
      user, system, reaped_user, reaped_system = fields[11, 4].map { |field| Integer(field, 10) }
      Entry.new(pid, Integer(fields[1], 10), fields[0], user + system, reaped_user + reaped_system)
    end

    def all
      Dir.children("/proc").grep(/\A\d+\z/).filter_map do |pid|
        parse_stat(File.read("/proc/#{pid}/stat"))
      rescue Errno::ENOENT, Errno::ESRCH
        nil # It ended between being listed and being read.
      end
    end

    # Everything below `root`, without `root` itself.
    def descendants(root, entries = all)
      children = entries.group_by(&:parent)
      found = []
      queue = [root]
      while (pid = queue.shift)
        children.fetch(pid, []).each do |entry|
          found << entry
          queue << entry.pid
        end
      end
      found
    end

    def find(pid)
      parse_stat(File.read("/proc/#{pid}/stat"))
    rescue Errno::ENOENT, Errno::ESRCH
      nil
    end

    # The most that has ever been resident, in bytes; nil when the process has ended.
    def peak(pid)
      kilobytes = File.read("/proc/#{pid}/status")[/^VmHWM:\s+(\d+) kB$/, 1]
      kilobytes && (Integer(kilobytes, 10) * 1024)
    rescue Errno::ENOENT, Errno::ESRCH
      nil
    end

    # nil when the process has ended.
    def memory(pid)
      text = File.read("/proc/#{pid}/smaps_rollup")
      text.empty? ? nil : Memory.parse(text)
    rescue Errno::ENOENT, Errno::ESRCH
      nil
    rescue Errno::EACCES
      raise Error, "may not read /proc/#{pid}/smaps_rollup: run the benchmark as the user that the servers run as, or as root"
    end
  end
end
