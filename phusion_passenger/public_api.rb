# frozen_string_literal: true

require_relative "app_libraries"

module PhusionPassenger
  # What applications call on PhusionPassenger in the processes that serve them. It is prepended, so that it is what
  # they get whichever is loaded first, this or lib/phusion_passenger.rb with its no-ops for rake tasks and consoles.
  module ProcessApi
    EVENTS = %i[
      starting_worker_process
      stopping_worker_process
      starting_request_handler_thread
      credentials
      after_installing_signal_handlers
      oob_work
      unhandled_exception_before_exit
    ].freeze

    # Has the block called when the event happens in this process, after those that were given before it.
    # :starting_worker_process gets true when the process was forked off a preloader.
    def on_event(name, &block)
      name = known_event(name)
      raise ArgumentError, "PhusionPassenger.on_event(#{name.inspect}) needs a block" unless block

      event_blocks[name] << block
      nil
    end

    # Calls the blocks of an event in the order of their registration.
    def call_event(name, *arguments)
      event_blocks[known_event(name)].each { |block| block.call(*arguments) }
      nil
    end

    # How many requests at a time the application says it can handle; nil when it does not say.
    attr_accessor :advertised_concurrency_level

    # Loads a part of the server that applications use: require_passenger_lib("rack/out_of_band_gc")
    def require_passenger_lib(name) = AppLibraries.load(name)

    # Guides for old versions of Rails put this into config.ru. There is nothing to install.
    def install_framework_extensions!(*) = nil

    private

    def known_event(name)
      symbol = name.to_sym if name.respond_to?(:to_sym)
      return symbol if EVENTS.include?(symbol)

      raise ArgumentError, "PhusionPassenger.on_event: unknown event #{name.inspect}; " \
                           "the events are #{EVENTS.map(&:inspect).join(", ")}"
    end

    # Under `rails server` the application was loaded before this file, in the process that this one was forked from:
    # what it registered there is kept by lib/phusion_passenger.rb (early_event_blocks: Hash of name to Array of blocks).
    def event_blocks
      early = respond_to?(:early_event_blocks) ? early_event_blocks : {}
      @event_blocks ||= EVENTS.to_h { |name| [name, early.fetch(name, []).dup] }
    end
  end

  # The application and the settings it is served with.
  module App
    class << self
      # The Rack application of this process.
      attr_accessor :app

      # Hash with String keys; see the documented names.
      def options = (@options ||= {})
    end
  end

  singleton_class.prepend(ProcessApi)
end
