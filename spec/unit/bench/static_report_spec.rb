# frozen_string_literal: true

require_relative "../../../bench/bench"

RSpec.describe Bench::Static::Report do
  def measurement(server, round, rate, length: 1024, **rest)
    Bench::Measurement.new(server: server, round: round, connections: 32, requests_per_second: rate, bytes_per_second: rate * length,
                           p50: 0.001, p99: 0.002, cpu_per_request: 1.0 / rate, rss: 2**25, pss: 2**24,
                           errors: {}, others: 0.02, replaced: false, **rest)
  end

  def kase(name)
    Bench::Static::CASES.find { |candidate| candidate.name == name }
  end

  let(:small) do
    [measurement(:passenger, 1, 110_000.0), measurement(:nginx, 1, 100_000.0), measurement(:puma, 1, 11_000.0),
     measurement(:nginx, 2, 50_000.0), measurement(:puma, 2, 11_000.0), measurement(:passenger, 2, 50_000.0)]
  end
  let(:large) do
    megabytes = 2**20
    [measurement(:passenger, 1, 80.0, length: 10 * megabytes), measurement(:nginx, 1, 100.0, length: 10 * megabytes),
     measurement(:puma, 1, 10.0, length: 10 * megabytes)]
  end
  let(:unequal) { [] }
  let(:results) { { kase("1kb") => Bench::Results.new(small), kase("10mb") => Bench::Results.new(large) } }
  let(:answers) { results.keys.to_h { |key| [key, Bench::Static::Answer.new(200, nil, 1024, "a")] } }
  let(:run) do
    Struct.new(:results, :unequal, :connections, :headers, :commands, :answers, :nginx_configuration) { def cases = results.keys }
          .new(results, unequal, 32, { passenger: ["Etag"], nginx: ["Server"], puma: ["Content-Length"] }, {}, answers, "daemon off;\n")
  end
  let(:labels) { { passenger: "passenger 7.0.0", nginx: "nginx 1.22.1", puma: "Puma 5.6.5" } }
  let(:setup) { Bench::Setup.parse(%w[static --rounds 2]) }
  let(:report) { described_class.new(run, labels: labels, setup: setup) }

  it "compares each case by its own measure, round by round" do
    # 110/100 = 1.1, 50/50 = 1.0
    expect(report.tables).to match(/^\| text of 1 KB +\| requests\/s .*1\.05 \(1\.00–1\.10\), goal ≥ 1\.0 met .*7\.27 .*goal ≥ 8\.0 MISSED/)
    expect(report.tables).to match(%r{^\| download of 10 MB +\| bytes/s .*800 MB/s .*0\.80 \(0\.80–0\.80\), goal ≥ 0\.9 MISSED .*8\.00 .*goal ≥ 8\.0 met})
  end

  it "tells each goal's outcome and what was aimed at" do
    expect(report.verdicts).to eq ["met     1kb, requests/s: 1.05 × nginx 1.22.1 (goal ≥ 1.0, aim 1.2)",
                                   "MISSED  1kb, requests/s: 7.27 × Puma 5.6.5 (goal ≥ 8.0)",
                                   "MISSED  10mb, bytes/s: 0.80 × nginx 1.22.1 (goal ≥ 0.9)",
                                   "met     10mb, bytes/s: 8.00 × Puma 5.6.5 (goal ≥ 8.0)"]
  end

  it "shows latency, CPU time and memory of every case" do
    titles = report.tables.scan(/^#### (.*)$/).flatten

    expect(titles).to eq ["Requests, or bytes, per second", "Median latency (p50)", "Latency, 99th percentile (p99)",
                          "CPU time per request", "Proportional memory (PSS)"]
    expect(report.tables.scan(/^\| text of 1 KB/).size).to eq titles.size
  end

  it "lists what was asked for, every round, and how the peers were set up" do
    expect(report.details).to include("| 1kb  | text of 1 KB      | `/robots.txt`", "- nginx 1.22.1: Server", "2 % (2 %–2 %).",
                                      "use ActionDispatch::Static", "```nginx\ndaemon off;\n```")
    expect(report.details.lines.grep(/^\| (1kb|10mb) +\| [12] /).size).to eq 9
  end

  it "plots each case's measure beside its CPU time" do
    svg = report.plot.to_svg

    expect(svg).to include("text of 1 KB: requests/s", "text of 1 KB: CPU per request", "download of 10 MB: bytes/s", "ours 1.05 ×", "800 MB/s")
  end

  describe "faults" do
    it "has none after a clean run" do
      expect(report.faults).to eq []
    end

    it "names the cases in which a server sent something else, and those with errors" do
      unequal << "UNEQUAL: css: puma answered /x with 3 bytes instead of 2"
      small << measurement(:puma, 3, 1.0, errors: { status: 5 })

      expect(report.faults).to eq ["UNEQUAL: css: puma answered /x with 3 bytes instead of 2",
                                   "1kb: ERROR: puma, 32 connections, round 3: 5 × a status other than 2xx or 3xx"]
    end
  end

  it "has something to print when no case could be compared" do
    results.clear

    expect(report.verdicts).to eq []
    expect(report.tables).to include "| case | measure |"
    expect(report.details).to include "Response headers"
  end

  it "does without ratios when our own server did not take part" do
    labels.delete(:passenger)
    peers = described_class.new(run, labels: labels, setup: setup)

    expect(peers.tables).not_to include "ours"
    expect(peers.verdicts).to eq []
    expect(peers.plot.to_svg).not_to include "ours"
  end
end
