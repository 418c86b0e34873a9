# frozen_string_literal: true

module PhusionPassenger
  # Where the application's controllers keep cached pages (actionpack-page_caching): page_cache_directory, of the
  # configuration and of every controller. It may be computed for each request, by a Proc, a method's name or an object with
  # `call`; a Proc or method that does without a request can be asked beforehand.
  class PageCacheDirectories
    # Raised in the application's code, past what it may rescue.
    class NeedsRequest < Exception; end # rubocop:disable Lint/InheritException

    # Methods of a controller that make no sense before a request
    OF_A_REQUEST = %i[request response params session cookies headers flash].freeze
    FAILURES = [StandardError, ScriptError, SystemStackError, NeedsRequest].freeze

    ADVICE = "cached pages there are answered by the application; the option page_cache_dir (--page-cache-dir DIR) names one " \
             "directory for all"

    # Lines for the log
    attr_reader :complaints

    # configuration: config.action_controller, nil if there is none
    def initialize(configuration)
      @configuration = configuration
      @complaints = []
    end

    # Strings, absolute or relative to the application's root, each once.
    def to_a
      fixed, computed = values.partition { |_, value| path?(value) }
      computed = computed.group_by { |_, value| value.object_id }.values
      paths = fixed.map(&:last) + computed.flat_map { |group| compute(group.first.last, group.map(&:first)) }
      paths.map(&:to_s).uniq
    end

    private

    # [controller, value] of each; nil for the configuration.
    def values
      configured = @configuration&.page_cache_directory
      found = path?(configured) ? [[nil, configured]] : []
      controllers(configured).each do |controller|
        value = controller.page_cache_directory if controller.respond_to?(:page_cache_directory)
        found << [controller, value] unless blank?(value)
      rescue *FAILURES => e
        complain(controller, e)
      end
      found
    end

    # Those that are loaded. What the configuration says is true of the others, too; unless it has to be asked of a
    # controller, nothing is loaded for that.
    def controllers(configured)
      return [] unless defined?(::ActionController) && ::ActionController.const_defined?(:Base)
      return [] if ::ActionController.autoload?(:Base) && (blank?(configured) || path?(configured))

      [::ActionController::Base, *::ActionController::Base.descendants]
    end

    # An empty directory is the default of controllers without configuration, and means nothing.
    def blank?(value) = value.nil? || value == "" || value == false

    def path?(value) = (value.is_a?(String) && !value.empty?) || value.respond_to?(:to_path)

    # One value is that of the controller that has set it and of those below. Not all of them need to be able to compute it:
    # what is set for all controllers may use what only the application's own ones have.
    def compute(value, controllers)
      failures = {}
      paths = controllers.filter_map do |controller|
        result(value, controller)
      rescue *FAILURES => e
        failures[controller] = e
        nil
      end
      failures.reject! { |_, error| error.is_a?(NameError) } unless paths.empty?
      complain(*failures.first, others: failures.size - 1) unless failures.empty?
      paths
    end

    # As the gem does it. Raises what the application raises.
    def result(value, controller)
      asked = false
      instance = controller.new
      OF_A_REQUEST.each do |name|
        instance.define_singleton_method(name) do |*|
          asked = true
          raise NeedsRequest
        end
      end
      path = case value
             when Proc then instance.instance_exec(&value)
             when Symbol then instance.send(value)
             else raise NeedsRequest # an object with `call`, which is given the request
             end
      raise NeedsRequest if asked
      raise TypeError, "it gives #{path.inspect} instead of a path" unless path?(path)

      path
    end

    def complain(controller, error, others: 0)
      reason = error.is_a?(NeedsRequest) ? "it depends on the request" : "#{error.class}: #{Exceptions.message(error)}"
      with_others = others.positive? ? " (and #{others} more)" : ""
      @complaints << "the page cache directory of #{controller}#{with_others} is not known to the server (#{reason}): #{ADVICE}"
    end
  end
end
