# frozen_string_literal: true

require_relative "phusion_passenger/version"

# What an application sees when it has `gem "passenger"` in its Gemfile. Every process of the application loads this file
# (rake tasks and consoles too), so it loads no native code, starts nothing and needs nothing.
#
# In a worker process these methods are overridden by those of phusion_passenger/public_api.rb, which fire the events.
module PhusionPassenger
  class << self
    # The events that a worker process fires. The application may subscribe to them in any process.
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

    # Subscribes to an event of worker processes. No event ever fires in this process; but under `rails server` the
    # application is loaded before its workers are forked, so the block is kept for them.
    #
    # Raises ArgumentError for a name that is no event, so that a typing error shows in every process.
    def on_event(name, &block)
      unless name.respond_to?(:to_sym) && EVENT_NAMES.include?(name.to_sym)
        raise ArgumentError, "PhusionPassenger.on_event: unknown event #{name.inspect}; " \
                             "the events are #{EVENT_NAMES.map(&:inspect).join(', ')}"
      end
      raise ArgumentError, "PhusionPassenger.on_event(#{name.inspect}) needs a block" unless block

      early_event_blocks[name.to_sym] << block
      nil
    end

    # What has been subscribed to in this process: event name => blocks.
    def early_event_blocks
      @early_event_blocks ||= EVENT_NAMES.to_h { |name| [name, []] }
    end

    # The commands of the original Passenger begin with `require "phusion_passenger"` and this call. Where its package is
    # installed and no `passenger` of this gem is in PATH, `bundle exec passenger` finds the original's command, whose
    # `require` then finds this file. The person means the gem in the bundle.
    def locate_directories
      require_relative "phusion_passenger/foreign_command"
      ForeignCommand.replace($PROGRAM_NAME, ARGV)
    end

    # Loads a part of the server that applications use: require_passenger_lib("rack/out_of_band_gc")
    def require_passenger_lib(name)
      require_relative "../phusion_passenger/app_libraries"
      AppLibraries.load(name)
    end

    # How many requests at a time the application says a process can handle. The server asks for it when it has loaded the
    # application; elsewhere it has no effect.
    attr_accessor :advertised_concurrency_level

    # Guides for old Rails versions have this call in config.ru. There is nothing to install.
    def install_framework_extensions!(*) = nil
  end
end
