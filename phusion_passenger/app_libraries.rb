# frozen_string_literal: true

module PhusionPassenger
  # What applications may load by PhusionPassenger.require_passenger_lib, in every process.
  module AppLibraries
    NAMES = %w[rack/out_of_band_gc].freeze

    class << self
      def load(name)
        name = name.to_s.delete_suffix(".rb")
        return require(File.expand_path("../lib/phusion_passenger/#{name}", __dir__)) if NAMES.include?(name)

        raise LoadError, "PhusionPassenger.require_passenger_lib: there is no #{name.inspect}; there is #{NAMES.join(", ")}"
      end
    end
  end
end
