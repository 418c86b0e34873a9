# frozen_string_literal: true

module PhusionPassenger
  # Makes the application's own gems available, and nothing before them. What `bundle exec` may have put into the
  # environment of the server has been taken out again by the engine.
  class Bundle
    def initialize(app_root)
      @app_root = app_root
    end

    # In the order that applications know from Passenger.
    def set_up
      load_paths = File.join(@app_root, "config/setup_load_paths.rb")
      environment = File.join(@app_root, ".bundle/environment.rb")
      if File.file?(load_paths)
        require load_paths
      elsif File.file?(environment)
        require environment
      elsif gemfile?
        # Not bundler/setup: that one prints what is wrong and exits, where we want to show it.
        require "bundler"
        Bundler.setup
      end
    end

    private

    def gemfile?
      return true if %w[Gemfile gems.rb].any? { |name| File.file?(File.join(@app_root, name)) }

      chosen = ENV.fetch("BUNDLE_GEMFILE", "")
      !chosen.empty? && File.file?(File.expand_path(chosen, @app_root))
    end
  end
end
