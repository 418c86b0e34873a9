# frozen_string_literal: true

require "fileutils"

module Bench
  module Pool
    # The pool's benchmark application in a directory of the run's own, where it can be restarted and broken.
    class Site < App
      PROGRAM = File.join(APPS, "pool.ru")
      BROKEN = "raise \"this code does not boot\"\n"

      attr_reader :passenger_options, :env

      # `options` of this project's server, beyond what all contests give it; a copy with others shares nothing with this one.
      def initialize(name, passenger_options: [], env: {}, program: PROGRAM)
        super(name, root: nil, startup_file: nil)
        @passenger_options = PASSENGER_OPTIONS + passenger_options
        @env = env
        @program = program
      end

      def prepare(dir, _ruby)
        @root = File.join(dir, "site-#{name}")
        @startup_file = File.join(@root, "config.ru")
        FileUtils.mkdir_p(File.join(@root, "tmp"))
        repair
      end

      def file(name)
        File.join(@root, name)
      end

      def restart
        FileUtils.touch(file("tmp/restart.txt"))
      end

      # Renamed into place: at no moment is there half a program.
      def repair
        install(File.read(@program))
      end

      def break
        install(BROKEN)
      end

      private

      def install(program)
        File.write(file("config.ru.new"), program)
        File.rename(file("config.ru.new"), startup_file)
      end
    end
  end
end
