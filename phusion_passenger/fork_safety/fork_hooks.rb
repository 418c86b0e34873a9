# frozen_string_literal: true

module PhusionPassenger
  module ForkSafety
    # Libraries that learn of a fork by themselves, through Process._fork or Kernel#fork: ActiveSupport tells ActiveRecord to
    # discard its connections, and the watcher of changed files to start again. It acts once per process, so asking it
    # costs nothing and covers a fork that its hook has not seen.
    class ForkHooks < Family
      def after_fork
        tracker = loaded("ActiveSupport::ForkTracker") or return
        attempt("the hooks of ActiveSupport::ForkTracker") do
          # Rails 6.1 to 7.0, since 7.1
          tracker.respond_to?(:check!) ? tracker.check! : tracker.after_fork_callback
        end
      end

      alias disowned after_fork
    end
  end
end
