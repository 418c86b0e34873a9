# frozen_string_literal: true

require "fileutils"
require "tmpdir"
require "securerandom"

module Harness
  ROOT = File.expand_path("../..", __dir__)

  # What belongs to one run of the suite: its directory for temporary files, the mark on every process it starts, and
  # the proof at the end that nothing of it is left.
  module Suite
    MARK = "PROJECT_SPEC_RUN"
    ID = "#{Process.pid}-#{SecureRandom.hex(4)}"
    # Where the logs of failed examples go; emptied at the start of each run.
    FAILURES = ENV.fetch("SPEC_FAILURES", File.join(ROOT, "tmp", "spec-failures"))

    # Taken from the environment of what is tested, so that a setting of the developer's shell decides nothing.
    SETTINGS = /\A(PASSENGER_|RACK_|RAILS_|BUNDLER_|SPEC_)|
                \A(BUNDLE_GEMFILE|BUNDLE_BIN_PATH|RUBYOPT|RUBYLIB|PORT|HOST|BINDING|DATABASE_URL|SECRET_KEY_BASE)\z/x.freeze

    class << self
      def directory
        @directory ||= Dir.mktmpdir("server-specs")
      end

      # Temporary files of the servers land here and nowhere else; it has to be empty in the end.
      def temporary_files
        @temporary_files ||= File.join(directory, "tmp").tap { |path| Dir.mkdir(path) }
      end

      def new_directory(name)
        @count = (@count || 0) + 1
        path = File.join(directory, format("%03d-%s", @count, name.gsub(/[^A-Za-z0-9]+/, "-")[0, 60]))
        FileUtils.mkdir_p(path)
        path
      end

      def environment(extra = {})
        base = defined?(Bundler) ? Bundler.original_env : ENV.to_h
        base.reject { |key, _| key.match?(SETTINGS) }
            .merge("BUNDLE_GEMFILE" => File.join(ROOT, "Gemfile"), MARK => ID, "TMPDIR" => temporary_files,
                   "LANG" => "C.UTF-8", "TERM" => "dumb")
            .merge(extra.transform_keys(&:to_s))
      end

      # Every process that this run has started and that still lives. Ruby may write its process title over the place
      # where the mark stands, so descent is looked at too (see ProcFS.adopt_orphans).
      def processes
        marked = ProcFS.pids.select { |pid| ProcFS.environment(pid).include?("#{MARK}=#{ID}") && ProcFS.alive?(pid) }
        (marked | ProcFS.descendants(Process.pid)) - [Process.pid]
      end

      def ports
        @ports ||= []
      end

      def start
        ProcFS.adopt_orphans
        FileUtils.rm_rf(FAILURES)
      end

      # Sentences about what has been left behind; empty when all is well.
      def leftovers
        settle
        left = processes.map { |pid| "process #{ProcFS.describe(pid)}" }
        left += (ports & ProcFS.listening_ports).map { |port| "listening port #{port}" }
        left += Dir.glob("**/*", File::FNM_DOTMATCH, base: temporary_files)
                   .reject { |name| name == "." || name.end_with?("/.") }
                   .map { |name| "temporary file #{name} (in TMPDIR)" }
        left + Dir.glob("**/*", base: directory).select { |name| File.socket?(File.join(directory, name)) }
                  .map { |name| "socket #{name}" }
      end

      # Copies a log to where it outlives the run.
      def keep(path, name:)
        FileUtils.mkdir_p(FAILURES)
        FileUtils.cp(path, File.join(FAILURES, name))
        kept << name
      end

      def kept
        @kept ||= []
      end

      # Ends what is left, so that one defect does not cost the machine; it has been reported by then.
      def sweep
        processes.each do |pid|
          Process.kill(:KILL, pid)
        rescue Errno::ESRCH
          next
        end
        reap
        FileUtils.rm_rf(directory)
      end

      private

      # A process that has been told to go may need a moment more than its server.
      def settle
        Harness.eventually("the end of all processes", within: 3) { processes.empty? }
      rescue DeadlineExceeded
        reap
      end

      def reap
        nil while Process.wait(-1, Process::WNOHANG)
      rescue Errno::ECHILD
        nil
      end
    end
  end
end
