# frozen_string_literal: true

module Bench
  module Servers
    # The original Phusion Passenger, Debian's package, with its builtin engine. It is run by its absolute path and without
    # this project's lib directory, since both projects answer to the names `passenger` and `phusion_passenger`.
    module Original
      PROGRAM = "/usr/bin/passenger"
      PACKAGE_FILE = "/usr/lib/passenger/support-binaries/PassengerAgent"

      module_function

      def key
        :original
      end

      def label
        "Phusion Passenger"
      end

      def missing
        return if File.exist?(PROGRAM) && File.exist?(PACKAGE_FILE)

        "#{PACKAGE_FILE} is not there: apt-get install --no-install-recommends passenger"
      end

      def version(ruby)
        Shell.read(ruby, PROGRAM, "--version")[/\d[\d.]+/]
      end

      def command(launch)
        raise Error, "Phusion Passenger's free edition has no threads: use --threads 1, or leave `original` out of --servers" unless
          launch.threads == 1

        [launch.ruby, PROGRAM, "start", "--engine", "builtin", "--address", launch.host, "--port", launch.port.to_s,
         "--environment", "production", "--rackup", launch.app.startup_file,
         "--max-pool-size", launch.processes.to_s, "--min-instances", launch.processes.to_s,
         "--max-request-queue-size", "1024", "--disable-turbocaching",
         "--disable-security-update-check", "--disable-anonymous-telemetry",
         "--log-level", "1", "--log-file", launch.file("passenger.log"), "--pid-file", launch.file("passenger.pid"),
         "--instance-registry-dir", launch.dir, launch.app.root]
      end

      def env(launch)
        launch.app.peer_env
      end

      def role(title)
        case title
        when /\APassenger RubyApp/ then :worker
        when /\APassenger core/ then :server
        when /\APassenger AppPreloader/ then :preloader
        when /\APassenger watchdog/ then :watchdog
        when /passenger start --engine builtin/ then :command
        when /temp-dir-toucher|\btail -f\b/ then :helper
        end
      end
    end
  end
end
