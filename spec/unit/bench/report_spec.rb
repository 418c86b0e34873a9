# frozen_string_literal: true

require_relative "../../../bench/bench"

RSpec.describe Bench::Report do
  def measurement(server, round, rate, p99, **rest)
    Bench::Measurement.new(server: server, round: round, connections: 32, requests_per_second: rate, p50: p99 / 2, p99: p99,
                           cpu_per_request: 1.0 / rate, rss: 50 * 1024 * 1024, pss: 40 * 1024 * 1024,
                           errors: {}, others: 0.02, replaced: false, **rest)
  end

  let(:measurements) do
    [measurement(:passenger, 1, 27_000.0, 0.003), measurement(:puma, 1, 9000.0, 0.030),
     measurement(:puma, 2, 4000.0, 0.060), measurement(:passenger, 2, 14_000.0, 0.004),
     measurement(:passenger, 3, 26_000.0, 0.005), measurement(:puma, 3, 10_000.0, 0.004)]
  end
  let(:contest) do
    Bench::Contest.new(name: "hello", title: "Hello world", app: nil, connections: [32],
                       goals: [Bench::Goal.new(:requests_per_second, :puma, :>=, 3.0, 32), Bench::Goal.new(:p99, :puma, :<=, 0.05, 32),
                               Bench::Goal.new(:p99, :original, :<=, 1.0, 32)])
  end
  let(:run) do
    Struct.new(:results, :connections, :headers, :commands)
          .new(Bench::Results.new(measurements), [32], { passenger: ["Content-Type"], puma: ["Content-Length"] }, {})
  end
  let(:setup) { Bench::Setup.parse(%w[hello --rounds 3]) }
  let(:report) { described_class.new(contest, run, labels: { passenger: "passenger 7.0.0", puma: "Puma 5.6.5" }, setup: setup) }

  it "shows medians and ranges of every server" do
    expect(report.tables).to match(/passenger 7\.0\.0 +\| +26,000 \(14,000–27,000\) \| +2\.00 ms \(1\.50 ms–2\.50 ms\) \|/)
    expect(report.tables).to match(/Puma 5\.6\.5 +\| +9,000 \(4,000–10,000\)/)
  end

  it "compares round by round and judges by the median of the ratios" do
    # 27/9 = 3, 14/4 = 3.5, 26/10 = 2.6
    expect(report.tables).to include "3.00 (2.60–3.50), goal ≥ 3.0 met"
    expect(report.tables).to include "0.10 (0.07–1.25), goal ≤ 0.05 MISSED"
  end

  it "tells each goal's outcome, and nothing of servers that did not take part" do
    expect(report.verdicts).to eq ["met     requests/s at 32 connections: 3.00 × Puma 5.6.5 (goal ≥ 3.0)",
                                   "MISSED  p99 at 32 connections: 0.10 × Puma 5.6.5 (goal ≤ 0.05)"]
  end

  it "lists every round, who added which headers, and how quiet the machine was" do
    expect(report.details).to include("- Puma 5.6.5: Content-Length", "2 % (2 %–2 %).")
    expect(report.details.lines.grep(/^\| [123] /).size).to eq 6
    expect(report.details).not_to include "not quiet"
  end

  it "says when other work took a good part of the machine" do
    measurements.each { |measurement| measurement.others = 0.3 }

    expect(report.details).to include "The machine was not quiet"
  end

  it "plots rate, latency, CPU time and memory, the ratio behind the peer's bar" do
    svg = report.plot.to_svg

    expect(svg).to include("Requests per second, 32 connections", "ours 3.00 ×", "passenger 7.0.0")
    expect(svg.scan(/font-size="14"/).size).to eq 4
  end

  describe "faults" do
    it "has none after a clean run" do
      expect(report.faults).to eq []
    end

    it "names server, load and round of every error" do
      measurements << measurement(:puma, 4, 1.0, 1.0, errors: { status: 5, read: 2 })
      measurements << measurement(:passenger, 4, 1.0, 1.0, replaced: true)

      expect(report.faults).to eq [
        "ERROR: puma, 32 connections, round 4: 5 × a status other than 2xx or 3xx",
        "ERROR: puma, 32 connections, round 4: 2 × socket error (read)",
        "ERROR: passenger, 32 connections, round 4: application processes were replaced"
      ]
    end
  end

  it "does without ratios when our own server did not take part" do
    peers = described_class.new(contest, run, labels: { puma: "Puma 5.6.5" }, setup: setup)

    expect(peers.tables).not_to include "ratio"
    expect(peers.verdicts).to eq []
    expect(peers.plot.to_svg).not_to include "ours"
  end
end

RSpec.describe Bench::Sample do
  it "counts as others' work what neither the server nor the harness did" do
    before = described_class.new(wall: 100.0, server: 1.0, harness: 1.0, machine: 10.0)
    after = described_class.new(wall: 105.0, server: 6.0, harness: 3.5, machine: 19.5)

    expect(after.others_since(before, 2)).to be_within(1e-9).of(0.2)
  end
end
