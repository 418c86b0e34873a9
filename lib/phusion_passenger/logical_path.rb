# frozen_string_literal: true

module PhusionPassenger
  # Directories as people write them. A deployment tool points a symlink (`current`) at the newest release; the server must
  # remember the symlink, so that a restart finds the release it points at by then.
  module LogicalPath
    class << self
      # The working directory, with the symlinks through which the shell got there.
      def pwd
        physical = Dir.pwd
        of(physical)
      end

      # Another way to write the same directory, if the shell's PWD is one.
      def of(directory)
        logical = ENV["PWD"].to_s
        return directory unless logical.start_with?("/")

        File.identical?(logical, directory) ? logical : directory
      end
    end
  end
end
