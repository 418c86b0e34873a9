# frozen_string_literal: true

module PhusionPassenger
  # Where the files of an application may be, besides its own directory. Capistrano and its relatives keep every release
  # in DIR/releases/NAME, with symlinks to what all releases share in DIR/shared; DIR/current leads to the newest one.
  module DeployLayout
    class << self
      # The application's directory, as it was named (`current` leads to another release after a deployment), and the
      # shared places of a deployment.
      def directories(app_root)
        [app_root, *shared_directories(app_root)]
      end

      private

      def shared_directories(app_root)
        releases = File.dirname(File.realpath(app_root))
        return [] unless File.basename(releases) == "releases"

        [File.join(File.dirname(releases), "shared"), releases]
      rescue SystemCallError
        [] # there is no such directory, so there is nothing to serve from it either
      end
    end
  end
end
