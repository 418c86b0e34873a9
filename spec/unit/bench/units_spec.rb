# frozen_string_literal: true

require_relative "../../../bench/bench"

RSpec.describe Bench::Units do
  it "groups large counts and keeps a digit of small ones" do
    expect([27_145.7, 1000, 999.6, 12.34].map { |number| described_class.count(number) }).to eq ["27,146", "1,000", "1,000", "12.3"]
  end

  it "chooses the unit of time that fits" do
    expect([0, 0.0000521, 0.00123, 0.0369, 0.905, 2.5].map { |value| described_class.seconds(value) })
      .to eq ["0 s", "52.1 µs", "1.23 ms", "36.9 ms", "905 ms", "2.50 s"]
  end

  it "writes bytes as megabytes" do
    expect(described_class.bytes(61_865_984)).to eq "59.0 MB"
  end

  it "puts the range behind the median" do
    expect(described_class.spread(Bench::Spread.new(2, 1, 3)) { |value| "#{value} m" }).to eq "2 m (1 m–3 m)"
  end
end
