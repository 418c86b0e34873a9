# frozen_string_literal: true

require_relative "phusion_passenger/version"

# What an application sees when it has `gem "passenger"` in its Gemfile. Every process of the application loads this file
# (rake tasks and consoles too), so it loads no native code, starts nothing and needs nothing.
#
# In a worker process the definitions below exist already, in the form that really fires the events, before the
# application is loaded; they are left alone then.
module PhusionPassenger
  class << self
    unless method_defined?(:on_event)
      # The events that a worker process fires. The application may subscribe to them from any process.
      EVENT_NAMES = %i[
        starting_worker_process
        stopping_worker_process
        starting_request_handler_thread
        credentials
        after_installing_signal_handlers
        oob_work
        unhandled_exception_before_exit
      ].freeze
      private_constant :EVENT_NAMES

      # Subscribes to an event of worker processes. Outside a worker process no event ever fires, so the block is not kept.
      #
      # Raises ArgumentError for a name that is no event, so that a typing error shows in every process.
      def on_event(name, &block)
        unless name.respond_to?(:to_sym) && EVENT_NAMES.include?(name.to_sym)
          raise ArgumentError, "PhusionPassenger.on_event: unknown event #{name.inspect}; " \
                               "the events are #{EVENT_NAMES.map(&:inspect).join(', ')}"
        end
        raise ArgumentError, "PhusionPassenger.on_event(#{name.inspect}) needs a block" unless block

        nil
      end
    end

    unless method_defined?(:install_framework_extensions!)
      # Guides for old Rails versions have this call in config.ru. There is nothing to install.
      def install_framework_extensions!(*) = nil
    end
  end
end
