# frozen_string_literal: true

module Bench
  module Servers
    # This project's server, run from the checkout.
    module Passenger
      LIB = File.join(ROOT, "lib")
      PROGRAM = File.join(ROOT, "exe/passenger")

      module_function

      def key
        :passenger
      end

      def label
        "passenger"
      end

      def missing
        return "#{PROGRAM} is not there" unless File.exist?(PROGRAM)

        built = %w[native.so libpassenger.so].map { |name| File.join(LIB, "phusion_passenger", name) }
        absent = built.reject { |file| File.exist?(file) }
        "#{absent.join(' and ')} not built yet: bundle exec rake compile" unless absent.empty?
      end

      def version(ruby)
        Shell.read(ruby, "-I", LIB, PROGRAM, "--version")[/\d[\w.]+/]
      end

      # The commit that was measured, and whether the checkout differed from it.
      def revision
        commit = Shell.read("git", "-C", ROOT, "rev-parse", "--short", "HEAD").strip
        changed = Shell.read("git", "-C", ROOT, "status", "--porcelain", "--untracked-files=no", "--", "go", "ext", "lib", "phusion_passenger")
        changed.empty? ? commit : "#{commit}, with uncommitted changes"
      end

      def command(launch)
        [launch.ruby, "-I", LIB, PROGRAM, "start", "--address", launch.host, "--port", launch.port.to_s,
         "--environment", "production", "--rackup", launch.app.startup_file,
         "--max-pool-size", launch.processes.to_s, "--min-instances", launch.processes.to_s,
         "--thread-count", launch.threads.to_s,
         "--log-file", launch.file("passenger.log"), "--pid-file", launch.file("passenger.pid"),
         *launch.app.passenger_options, launch.app.root]
      end

      def env(launch)
        launch.app.env
      end

      def role(title)
        case title
        when /\APassenger RubyApp/ then :worker
        when /\APassenger AppPreloader/ then :preloader
        when /exe\/passenger start/, /\A[Pp]assenger\b/ then :server
        end
      end
    end
  end
end
