# frozen_string_literal: true

require "rbconfig"
require_relative "version"

module PhusionPassenger
  # A command of another Passenger installation that has loaded this gem instead of its own library.
  module ForeignCommand
    COMMANDS = File.expand_path("../../exe", __dir__)

    # Becomes this gem's command of the same name. Does not return.
    def self.replace(program, arguments)
      name = File.basename(program)
      ours = File.join(COMMANDS, name)
      exec(RbConfig.ruby, ours, *arguments) if File.file?(ours)

      abort("#{name}: #{File.expand_path(program)} belongs to another Passenger installation than the gem in the bundle " \
            "(passenger #{VERSION}), which has no command #{name}; run it outside the bundle")
    end
  end
end
