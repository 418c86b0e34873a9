# frozen_string_literal: true

require_relative "../../../bench/bench"

RSpec.describe Bench::Cable do
  let(:labels) { { passenger: "passenger 7.0.0", puma: "Puma 5.6.5" } }
  let(:setup) { Bench::Setup.parse(%w[cable --rounds 2]) }
  let(:sockets) { Bench::Cable::Held::SOCKETS }

  def part(kind)
    kind.new([], setup, nil, nil, labels)
  end

  def load(rate)
    Bench::Wrk::Report.new(requests: rate * 5, seconds: 5, requests_per_second: rate, bytes_per_second: rate * 200, p50: 0.01, p99: 0.02, errors: {})
  end

  def tally(received:, p99: 0.2, **rest)
    { received: received, lost: 0, disordered: 0, repeated: 0, closed: 0, p50: p99 / 2, p99: p99, max: p99 * 2, **rest }
  end

  describe Bench::Cable::Held do
    let(:held) { part(described_class) }
    let(:all) { sockets * described_class::BROADCASTS }

    def round(server, number, without, with, **delivery)
      described_class::Round.new(server: server, number: number, without: load(without), with: load(with), during: load(with / 2), others: 0.01,
                                 tally: tally(received: all, **delivery), memory: { server: 5 * 1024, worker: 20 * 1024 })
    end

    def judge(*rounds)
      held.instance_variable_set(:@rounds, rounds)
      held.verdicts
    end

    it "compares each server with itself for throughput, and with the peer for delivery, round by round" do
      lines = judge(round(:passenger, 1, 1000.0, 950.0, p99: 0.2), round(:puma, 1, 900.0, 450.0, p99: 0.2),
                    round(:puma, 2, 900.0, 900.0, p99: 0.4), round(:passenger, 2, 500.0, 440.0, p99: 0.5))
      expect(lines).to eq ["met     requests/s with 2000 sockets held: 0.92 × those without (goal ≥ 0.9)",
                           "met     80000 of 80000 messages delivered, 0 out of order (goal all, in order)",
                           "met     delivery p99: 1.12 × Puma's (goal ≤ 1.2)"]
    end

    it "says what was missed" do
      lines = judge(round(:passenger, 1, 1000.0, 890.0, p99: 0.5, disordered: 3), round(:puma, 1, 900.0, 900.0, p99: 0.4))
      expect(lines.map { |line| line[/\A\w+/] }).to eq %w[MISSED MISSED MISSED]
    end

    it "does without a peer" do
      expect(judge(round(:passenger, 1, 1000.0, 950.0)).size).to eq 2
    end

    it "shows every round, and the memory that the first one has cost" do
      judge(round(:passenger, 1, 1000.0, 950.0, p99: 0.2), round(:puma, 1, 900.0, 450.0, p99: 0.1))
      expect(held.tables).to match(/passenger 7\.0\.0 .* 0\.95 \(0\.95–0\.95\) .*\| +5\.00 KB \| +20\.0 KB \|$/).and match(/Puma .*\| +– \| +20\.0 KB \|$/)
      expect(held.details.lines.size).to eq 4
      expect(held.panels.flat_map(&:bars).map(&:text)).to eq ["950", "450", "200 ms", "100 ms"]
    end
  end

  describe Bench::Cable::Quiet do
    it "connects as many as the limit of descriptors lets the engine join" do
      expect([described_class.sockets(10_000, 65_536), described_class.sockets(10_000, 20_000)]).to eq [10_000, 9_900]
    end

    it "judges the engine's share of memory and processor" do
      reading = { server: :passenger, sockets: 10_000, seconds: 3.0, memory: { server: 5300.0, worker: 900.0 }, echo: 1.0, others: 0.0 }
      verdicts = [0.001, 0.02].map do |share|
        quiet = part(described_class)
        quiet.instance_variable_set(:@readings, [described_class::Reading.new(**reading, cpu: { server: share, worker: 0.0 })])
        quiet.verdicts
      end
      expect(verdicts.first).to eq ["met     engine's memory for each of 10000 idle sockets: 5.18 KB (goal ≤ 12.0 KB)",
                                    "met     engine's CPU meanwhile: 0.10 % of a core (goal < 2 %)"]
      expect(verdicts.last.last).to start_with "MISSED"
    end
  end

  describe Bench::Cable::Adapters do
    let(:adapters) { part(described_class) }

    def judge(ours, redis, disordered: 0)
      adapters.instance_variable_set(:@steady, %i[adapter_passenger adapter_redis].map do |key|
        described_class::Steady.new(adapter: key, published: 30_000, tally: tally(received: 150_000, disordered: disordered), cpu: 60.0, sockets: [125] * 4, others: 0.0)
      end)
      floods = { adapter_passenger: ours, adapter_redis: redis }.flat_map do |key, rates|
        rates.each_with_index.map do |rate, index|
          described_class::Flood.new(adapter: key, round: index + 1, broadcasts_per_second: rate / 5, deliveries_per_second: rate, cpu: 0.0004, disordered: 0,
                                     others: 0.0)
        end
      end
      adapters.instance_variable_set(:@floods, floods)
      adapters.verdicts
    end

    it "compares the rates of delivery round by round" do
      expect(judge([9000.0, 5000.0], [7500.0, 5000.0])).to eq(
        ["met     adapter passenger, 30000 broadcasts: 0 lost, 0 out of order (goal none)",
         "met     adapter passenger, deliveries/s as fast as possible: 1.10 × the Redis adapter's (goal ≥ 1.0)"]
      )
      expect(adapters.tables).to include("adapter passenger", "adapter redis", "2.00 ms")
    end

    it "says when something came out of order, or slower" do
      expect(judge([5000.0], [7500.0], disordered: 1)).to all(start_with("MISSED"))
    end
  end

  describe Bench::Cable::Part do
    it "finds fault with what is missing, comes twice or out of order, and lets the order of another's adapter be" do
      messages = StringIO.new
      part = described_class.new([], setup, Bench::Session.new(nil, messages), nil, labels)
      part.send(:complain, "somebody", tally(received: 9, lost: 1, disordered: 2), 10)
      part.send(:complain, "redis", tally(received: 10, disordered: 2), 10, order: false)
      expect(part.faults).to eq ["ERROR: somebody: 1 messages lost", "ERROR: somebody: 2 out of order", "ERROR: somebody: 9 of 10 received"]
    end
  end

  it "publishes only when all parts and servers take part" do
    outputs = [%w[cable], %w[cable --only held], %w[cable --servers passenger], %w[cable --servers puma,passenger]].map { |words| Bench::Setup.parse(words).output }
    expect(outputs).to eq [Bench::DOCUMENTS, Bench::SCRATCH, Bench::SCRATCH, Bench::DOCUMENTS]
  end
end
