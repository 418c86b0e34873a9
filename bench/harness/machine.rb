# frozen_string_literal: true

require "etc"

module Bench
  # Where the numbers were taken.
  module Machine
    module_function

    def facts(ruby)
      {
        "Date" => Time.now.utc.strftime("%Y-%m-%d %H:%M UTC"),
        "System" => "#{os}, Linux #{Etc.uname[:release]} #{Etc.uname[:machine]}",
        "Processor" => "#{processor}, #{Etc.nprocessors} cores",
        "Memory" => Units.bytes(memory),
        "Ruby" => Shell.read(ruby, "--version").strip,
        "Rack" => Shell.read(ruby, "-e", 'require "rack"; puts Gem.loaded_specs["rack"].version').strip,
        "wrk" => Wrk.version
      }
    end

    # CPU seconds used so far by all processes there are and the children that they have waited for, plus what other virtual
    # machines took away. (The kernel's own sums in /proc/stat are no use here: they set the work of network interrupts, which
    # on loopback is the benchmark's own, apart in one kernel and not in the other.)
    def busy_seconds
      ProcessTree.all.sum(&:cpu_seconds) + stolen_seconds
    end

    def stolen_seconds(text = File.read("/proc/stat"))
      text[/^cpu +(.*)$/, 1].split.fetch(7).to_i / ProcessTree::TICKS_PER_SECOND
    end

    def os
      File.read("/etc/os-release")[/^PRETTY_NAME="?([^"\n]*)/, 1]
    end

    def processor
      File.read("/proc/cpuinfo")[/^model name\s*:\s*(.*)$/, 1] || Etc.uname[:machine]
    end

    def memory
      Integer(File.read("/proc/meminfo")[/^MemTotal:\s+(\d+)/, 1], 10) * 1024
    end
  end
end
