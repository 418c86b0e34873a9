# frozen_string_literal: true

require_relative "../../../bench/bench"

# What the parts of the pool's contest make of what they have measured; the servers are played.
RSpec.describe Bench::Pool::Part do
  let(:setup) { Bench::Setup.parse(%w[pool --rounds 2 --duration 1 --kill-duration 1 --flood 100 --restarts 4 --cycles 1 --recycling 1]) }
  let(:session) { instance_double(Bench::Session, say: nil, stop: nil) }

  before { allow(session).to receive(:prepare) { |app, _ruby| app } }

  def outcome(**fields)
    Bench::Pool::Outcome.new(answered: 100, failures: {}, told: [], closed: 0, long: 0, p50: 0.001, p99: 0.01, max: 0.02, **fields)
  end

  def words(part)
    part.verdicts.map(&:to_s)
  end

  describe Bench::Pool::Affinity do
    let(:part) { described_class.new(setup, session) }
    let(:outcomes) { Hash.new { outcome } }

    # `outcomes`: by server's key and whether a slow request was among the groups.
    before do
      key = Struct.new(:key, :public_command)
      allow(session).to receive(:start) { |definition, _app, _setup| key.new(definition.key, definition.label) }
      allow(part).to receive(:beside_burner).and_yield
      allow(Bench::Pool::Load).to receive(:run) do |server, groups, _seconds|
        held = groups.any? { |group| group.name == "slow" }
        next { long: outcome(runs: runs[server.key]), short: outcome(runs: []) } if groups.first.runs

        { fast: outcomes[[server.key, held]], slow: outcome }
      end
    end

    let(:runs) { Hash.new([[1, 0, 20_000], [2, 0, 20_000]]) }

    it "meets its goals when the slow request is not felt" do
      expect(words(part.run)).to all(start_with("met"))
      expect(part.panels.map { |panel| panel.bars.map(&:label) })
        .to eq [["passenger, one of 2 held", "passenger, 1, free", "Puma, one of 2 held", "Puma, 1, free"]] * 2
    end

    it "misses them when requests wait for it, and judges this project's server alone" do
      outcomes[[:passenger, true]] = outcome(long: 3, p99: 0.02)
      outcomes[[:puma, true]] = outcome(long: 50, p99: 3.0)
      runs[:passenger] = [[1, 0, 50_000], [2, 0, 5000], [1, 20_000, 40_000]]

      expect(words(part.run)).to eq [
        "MISSED  2 × 1: 6 fast requests took longer than 1 s beside a slow one (goal 0)",
        "MISSED  2 × 1: p99 of fast requests 2.00 × that on a free process (goal ≤ 1.5)",
        "MISSED  2 × 3: 6 fast requests took longer than 1 s beside a slow one (goal 0)",
        "MISSED  2 × 3: p99 of fast requests 2.00 × that on a free process (goal ≤ 1.5)",
        "MISSED  2 × 3: 2 requests entered a process at work while the other was idle, with 200 short ones (goal 0)"
      ]
      expect(part.tables).to include("300 (300–300)") # Puma's ratio stands in the table.
    end

    it "is no measurement when the slow request was not answered" do
      allow(Bench::Pool::Load).to receive(:run).and_return({ fast: outcome, slow: outcome(answered: 0, failures: { "status 502" => 1 }) })

      expect { part.run }.to raise_error(Bench::Error, "passenger: no slow request was answered: 1 × status 502")
    end
  end

  describe Bench::Pool::Kills do
    let(:part) { described_class.new(setup, session) }
    let(:server) { double("server", launch: Bench::Launch.new(dir: "/nowhere"), public_command: "passenger", orphans: [], stop: []) } # rubocop:disable RSpec/VerifiedDoubles -- a played one

    before do
      allow(session).to receive(:start).and_return(server)
      allow(part).to receive(:kill_and_wait) do
        part.instance_variable_set(:@killed, [11, 12])
        part.instance_variable_set(:@whole, 0.3)
      end
    end

    def after(failures)
      allow(Bench::Pool::Load).to receive(:during) { |_server, groups, &block| block.call && groups.to_h { |group| [group.name.to_sym, outcome(failures: failures)] } }
      part.run
    end

    it "lets every kill cost as many requests as a process has threads, of both kinds of clients together" do
      expect(words(after("status 502" => 2))).to include("met     4 failed requests with 2 kills (goal ≤ 4)")
      expect(words(after("status 502" => 3))).to include("MISSED  6 failed requests with 2 kills (goal ≤ 4)")
    end

    it "tells what is left over" do
      entry = Bench::ProcessTree::Entry.new(77)
      allow(entry).to receive(:title).and_return("Passenger RubyApp")
      allow(server).to receive_messages(orphans: [entry], stop: ["sleep (pid 78)"])

      expect(words(after({}))).to include("MISSED  orphaned: Passenger RubyApp (pid 77), sleep (pid 78) (goal nothing)")
    end
  end

  describe Bench::Pool::Flood do
    let(:part) { described_class.new(setup, session) }

    def row(**fields)
      described_class::Row.new(server: "passenger", sent: 100, unconnected: 0, ran: 0, next_client: 0.01, **fields)
    end

    it "is content when nothing was done for those that left and the next one was served" do
      allow(part).to receive(:flood).and_return(row, row(server: "Puma", ran: 100, next_client: nil))

      expect(words(part.run)).to all(start_with("met"))
      expect(part.tables).to include("no answer")
    end

    it "misses its goals by a single request that was run for nobody, and by a next client that waits or gets nothing" do
      allow(part).to receive(:flood).and_return(row(ran: 1, next_client: nil, sent: 99), row(server: "Puma"))

      expect(words(part.run)).to eq ["MISSED  99 of 100 clients of the flood were connected and sent their request",
                                     "MISSED  1 request of 99 clients that had left was run (goal 0)",
                                     "MISSED  the next client got no answer (goal ≤ 0.5 s)"]
    end
  end
end
