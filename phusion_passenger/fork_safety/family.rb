# frozen_string_literal: true

module PhusionPassenger
  module ForkSafety
    # What has to be done for one library, or for several that are treated alike. Each of the three methods may be called
    # again, may not raise, and does nothing where the library is not loaded.
    class Family
      # What a library's code may raise. NotImplementedError and LoadError are no StandardErrors, SystemStackError neither.
      FAILURES = [StandardError, ScriptError, SystemStackError].freeze

      # In the process that others will be forked from: closes what they must not share.
      def before_fork = nil

      # In a process that was forked from one that may still use its connections: gives them up without a word on them.
      def disowned = nil

      # In a forked process that will serve: gives up what the parent has opened since, starts what has to be started.
      def after_fork = nil

      private

      # The class or module of that name, nil if it is not loaded. Neither loads it nor takes what is no module for it.
      def loaded(name)
        name.split("::").inject(Object) do |outer, part|
          return nil unless outer.is_a?(Module) && outer.const_defined?(part, false) && !outer.autoload?(part, false)

          outer.const_get(part, false)
        end.then { |found| found if found.is_a?(Module) }
      end

      # All living objects of a class, for libraries that keep no list of them. That takes as long as a look at the whole
      # heap, so it is for the time before the fork.
      def objects(class_name)
        known = loaded(class_name)
        known.is_a?(Class) ? ObjectSpace.each_object(known).to_a : []
      end

      # Calls the block for each, whatever becomes of the others; reports the first failure and the number of all.
      def each_of(things, doing)
        failed = 0
        first = nil
        things.each do |thing|
          yield thing
        rescue *FAILURES => e
          failed += 1
          first ||= e
        end
        report(failed == 1 ? doing : "#{doing} (#{failed} times)", first) if first
      end

      def attempt(doing)
        yield
      rescue *FAILURES => e
        report(doing, e)
        nil
      end

      def report(doing, error)
        Log.exception("fork safety: #{doing} failed; the application goes on", error)
      end
    end
  end
end
