# frozen_string_literal: true

module Bench
  module Servers
    # Puma as a cluster: a master that loads the app and forks workers.
    module Puma
      PROGRAM = "/usr/bin/puma"

      module_function

      def key
        :puma
      end

      def label
        "Puma"
      end

      def missing
        "#{PROGRAM} is not there: apt-get install puma" unless File.exist?(PROGRAM)
      end

      def version(ruby)
        Shell.read(ruby, PROGRAM, "--version")[/[\d.]+/]
      end

      # `-C -` keeps Puma from reading the app's config/puma.rb: every server runs with what is said here.
      def command(launch)
        [launch.ruby, PROGRAM, "--quiet", "-C", "-", "-w", launch.processes.to_s, "-t", "#{launch.threads}:#{launch.threads}",
         "--preload", "-e", "production", "-b", "tcp://#{launch.host}:#{launch.port}", launch.app.startup_file]
      end

      def env(launch)
        launch.app.peer_env
      end

      def role(title)
        case title
        when /\Apuma: cluster worker/ then :worker
        when /\Apuma / then :server
        end
      end
    end
  end
end
