# frozen_string_literal: true

require_relative "../../../bench/bench"

RSpec.describe Bench::Static::Memory do
  let(:megabyte) { 2**20 }
  let(:setup) { Bench::Setup.parse(%w[static-memory --rounds 2]) }
  let(:memory) { described_class.new(setup, nil) }

  def read(moment, pss, rss: pss + 5, peak: rss)
    numbers = Bench::ProcessTree::Memory.new(*[rss, pss, pss].map { |count| count * megabyte })
    memory.readings << described_class::Reading.new(moment, numbers, peak * megabyte)
  end

  it "allows the cache and what the heap may take besides" do
    read("before", 30)
    read("after round 1", 158)
    read("3 s later", 100, peak: 170)

    expect(memory.verdicts.first).to start_with("met     growth of the engine's PSS: at most 128 MB (goal ≤ 64 MB of cache + 64 MB")
    expect(memory.verdicts.last.strip).to eq "against the cache's size alone: +64.0 MB; growth of RSS up to its peak: 135 MB"
  end

  it "judges by the most that was there at any time, not by what was left at the end" do
    read("before", 30)
    read("after round 1", 159)
    read("3 s later", 40)

    expect(memory.verdicts.first).to start_with "MISSED  growth of the engine's PSS: at most 129 MB"
  end

  it "shows every reading with its growth, in a table and a plot" do
    read("before", 30)
    read("after round 1", 90)

    expect(memory.tables).to match(/after round 1 +\| 95\.0 MB \| 90\.0 MB \| 90\.0 MB \| +95\.0 MB \| +60\.0 MB \|/)
    expect(memory.plot.to_svg).to include("after round 1", "growth 60.0 MB")
  end
end
