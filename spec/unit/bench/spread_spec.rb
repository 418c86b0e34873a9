# frozen_string_literal: true

require_relative "../../../bench/bench"

RSpec.describe Bench::Spread do
  it "is the middle of an odd number of values, with both ends" do
    expect(described_class.of([5, 1, 9])).to eq described_class.new(5, 1, 9)
  end

  it "lies between the two in the middle of an even number of values" do
    expect(described_class.of([4, 1, 2, 30])).to eq described_class.new(3.0, 1, 30)
  end

  it "is not made of nothing" do
    expect { described_class.of([]) }.to raise_error(ArgumentError, /at least one value/)
  end

  describe ".of_ratios" do
    it "compares round with round, so that a slow round of the machine does not count" do
      # The machine was half as fast in the second round: ratios of medians would say 2.5, no round did.
      expect(described_class.of_ratios([300, 150, 300], [100, 50, 120])).to eq described_class.new(3.0, 2.5, 3.0)
    end

    it "leaves out rounds in which the peer has zero" do
      expect(described_class.of_ratios([3, 4], [0, 2])).to eq described_class.new(2.0, 2.0, 2.0)
      expect(described_class.of_ratios([3], [0])).to be_nil
    end

    it "refuses to compare a different number of rounds" do
      expect { described_class.of_ratios([1, 2], [1]) }.to raise_error(ArgumentError, /same rounds/)
    end
  end
end
