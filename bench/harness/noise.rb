# frozen_string_literal: true

module Bench
  # How much else went on while it was measured.
  module Noise
    # Above this share of the machine, other work makes the numbers doubtful.
    QUIET = 0.1

    module_function

    # `others`: the spread of Measurement#others.
    def words(others)
      words = "Share of the machine that was used by neither the server under load nor the load generator (\"others\"): " \
              "#{Units.spread(others) { |value| Units.percent(value) }}."
      others.median > QUIET ? "#{words} **The machine was not quiet: take the numbers with care.**" : words
    end
  end
end
