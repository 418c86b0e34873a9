# frozen_string_literal: true

module PhusionPassenger
  # Makes the application's own gems available, and nothing before them.
  class Bundle
    # Set by `bundle exec`, in front of names of variables it has changed
    ORIGINAL = "BUNDLER_ORIG_"
    # Bundler's mark for "was not set"
    NOT_SET = "BUNDLER_ENVIRONMENT_PRESERVER_INTENTIONALLY_NIL"

    class << self
      # Whether this process was started by `bundle exec` (or one of its children) for another Gemfile than that of the
      # application: the server may run from the bundle of a release that has been replaced since.
      def inherited_from_elsewhere?(app_root, environment = ENV)
        gemfile = environment["BUNDLE_GEMFILE"]
        return false unless gemfile && environment.key?("#{ORIGINAL}BUNDLE_GEMFILE")

        own = own_gemfile(app_root, original(environment, "BUNDLE_GEMFILE"))
        !own || real(own) != real(gemfile)
      end

      # The environment as it was before `bundle exec`, as changes to be applied: nil removes a variable.
      def restored_environment(environment = ENV)
        changes = {}
        environment.each_key do |name|
          next unless name.start_with?(ORIGINAL)

          changes[name] = nil
          plain = name.delete_prefix(ORIGINAL)
          changes[plain] = original(environment, plain)
        end
        changes.merge("BUNDLE_BIN_PATH" => changes["BUNDLE_BIN_PATH"], "BUNDLER_VERSION" => changes["BUNDLER_VERSION"],
                      "BUNDLER_SETUP" => nil)
      end

      private

      def original(environment, name)
        value = environment["#{ORIGINAL}#{name}"]
        value unless value == NOT_SET
      end

      def own_gemfile(app_root, chosen)
        return File.expand_path(chosen, app_root) if chosen && !chosen.empty?

        %w[Gemfile gems.rb].map { |name| File.join(app_root, name) }.find { |path| File.file?(path) }
      end

      def real(path) = File.exist?(path) ? File.realpath(path) : path
    end

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
