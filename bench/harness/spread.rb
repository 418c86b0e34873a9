# frozen_string_literal: true

module Bench
  # The middle and the ends of a few repeated measurements of one quantity.
  Spread = Struct.new(:median, :min, :max) do
    def self.of(values)
      raise ArgumentError, "a spread needs at least one value" if values.empty?

      sorted = values.sort
      middle = sorted.size / 2
      median = sorted.size.odd? ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2.0
      new(median, sorted.first, sorted.last)
    end

    # Ratios are formed round by round, ours to theirs, so that a slow minute of the machine, which hits the servers of one
    # round alike, cancels out. A round in which the peer measured zero has no ratio.
    def self.of_ratios(ours, theirs)
      unless ours.size == theirs.size
        raise ArgumentError, "ratios need the same rounds on both sides (#{ours.size} and #{theirs.size})"
      end

      pairs = ours.zip(theirs).reject { |_, peer| peer.zero? }
      pairs.empty? ? nil : of(pairs.map { |our, peer| our.to_f / peer })
    end

    def map
      self.class.new(yield(median), yield(min), yield(max))
    end
  end
end
