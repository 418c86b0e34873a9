# frozen_string_literal: true

require_relative "../../phusion_passenger/cable_client"

module ActionCable
  module SubscriptionAdapter
    # `adapter: passenger` in config/cable.yml: the server that runs the application's processes passes the messages between
    # them. docs/action-cable.md tells what it guarantees.
    class Passenger < Base
      prepend ChannelPrefix

      def initialize(*)
        super
        @client = nil
      end

      # Returns when the server has the message. Raises PhusionPassenger::CableClient::Error.
      def broadcast(channel, payload) = client.publish(channel, payload)

      def subscribe(channel, callback, success_callback = nil) = client.subscribe(channel, callback, success_callback)

      def unsubscribe(channel, callback) = client.unsubscribe(channel, callback)

      def shutdown = @client&.close

      private

      def client
        @client || @server.mutex.synchronize { @client ||= new_client }
      end

      def new_client
        PhusionPassenger::CableClient.new(logger: logger) { |task| @server.event_loop.post(&task) }
      end
    end
  end
end
