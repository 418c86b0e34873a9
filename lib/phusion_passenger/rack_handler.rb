# frozen_string_literal: true

require_relative "../phusion_passenger"

module PhusionPassenger
  # The Rack handler: what `rails server` and `rackup` run an application with. `Bundler.require` loads this file into
  # every process of the application, so it defines a few methods and nothing else; serving is in rack_handler/launch.rb.
  module RackHandler
    # Where the process was when the application was loaded. Rack changes to / before it calls the handler of a server
    # that goes into the background.
    LOADED_IN = Dir.pwd

    class << self
      # Serves the application until INT or TERM. Yields the server (it has `stop`), once it listens.
      def run(app, **options, &block)
        require_relative "rack_handler/launch"
        Launch.new(app, options).run(&block)
      end

      # What `rackup -s passenger -h` shows.
      def valid_options
        require_relative "options"
        Options.for(:rack_handler).to_h do |option|
          help = option.default_text ? "#{option.help} (default: #{option.default_text})" : option.help
          ["#{option.name}=#{option.metavar || 'true|false'}", help]
        end
      end

      def environment = ENV["RAILS_ENV"] || "development"

      # Rails prints it: "=> Booting Passenger application server".
      def to_s = "Passenger application server"
    end
  end
end

require_relative "rack_handler/registration"
PhusionPassenger::RackHandler::Registration.install
