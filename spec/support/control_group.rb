# frozen_string_literal: true

module Harness
  # A control group with a quota of processor time, below the one that the suite runs in. It can be made only where that
  # is writable: by root, outside of most containers.
  class ControlGroup
    PERIOD = 100_000

    # Gives the group to the block, or nil where there can be none.
    def self.with_processors(count)
      group = [UnifiedHierarchy, CpuHierarchy].lazy.filter_map { |kind| kind.make(count) }.first
      yield group
    ensure
      group&.remove
    end

    def initialize(path)
      @path = path
    end

    # Has a command run in the group, with everything that it starts.
    def contain(command)
      command.argv.unshift("sh", "-c", 'echo $$ > "$0" && exec "$@"', File.join(@path, "cgroup.procs"))
      command
    end

    def remove
      Harness.eventually("the end of all processes in #{@path}") { File.read(File.join(@path, "cgroup.procs")).empty? }
      Dir.rmdir(@path)
    end

    # The line of /proc/self/cgroup whose second field is this, as a directory below the mount point of that hierarchy.
    def self.own_directory(controllers, type)
      line = File.readlines("/proc/self/cgroup", chomp: true).map { |text| text.split(":", 3) }
                 .find { |_, names, _| controllers ? names.split(",").include?(controllers) : names.empty? } or return
      mount = File.readlines("/proc/self/mounts").map(&:split).find do |_, _, kind, options|
        kind == type && (controllers.nil? || options.split(",").include?(controllers))
      end
      mount && File.join(mount[1], line[2])
    end

    def self.new_directory_in(parent)
      path = File.join(parent, "specs-#{Suite::ID}")
      Dir.mkdir(path)
      path
    end

    # Version 2. A group with processes has no groups with controllers below it, but for the root.
    class UnifiedHierarchy < ControlGroup
      def self.make(processors)
        parent = own_directory(nil, "cgroup2") or return
        return unless File.read(File.join(parent, "cgroup.subtree_control")).split.include?("cpu")

        path = new_directory_in(parent)
        File.write(File.join(path, "cpu.max"), "#{(processors * PERIOD).to_i} #{PERIOD}")
        new(path)
      rescue SystemCallError
        path && Dir.rmdir(path)
        nil
      end
    end

    # Version 1
    class CpuHierarchy < ControlGroup
      def self.make(processors)
        parent = own_directory("cpu", "cgroup") or return
        path = new_directory_in(parent)
        File.write(File.join(path, "cpu.cfs_period_us"), PERIOD.to_s)
        File.write(File.join(path, "cpu.cfs_quota_us"), (processors * PERIOD).to_i.to_s)
        new(path)
      rescue SystemCallError
        path && Dir.rmdir(path)
        nil
      end
    end
  end
end
