# frozen_string_literal: true

module PhusionPassenger
  module ForkSafety
    # The connections of Rails' own stores are Redis or Dalli clients, mostly in a ConnectionPool, and treated as such. Stores
    # of other gems that have connections of another kind offer this method.
    class RailsCache < Family
      def after_fork
        rails = loaded("Rails") or return
        attempt("reconnecting Rails.cache") do
          cache = rails.respond_to?(:cache) ? rails.cache : nil
          cache.reconnect if cache.respond_to?(:reconnect)
        end
      end
    end
  end
end
