# frozen_string_literal: true

require_relative "../../../bench/bench"

RSpec.describe Bench::Setup do
  def parse(*arguments)
    described_class.parse(arguments)
  end

  it "has sensible values for a real run" do
    setup = parse("hello")

    expect(setup.to_h).to include(subject: "hello", rounds: 7, duration: 5, warmup: 3, connections: nil, processes: 2, threads: 1,
                                  servers: %i[passenger puma original nginx], output: Bench::DOCUMENTS)
  end

  it "takes options in any order" do
    setup = parse("--processes", "4", "page", "--connections", "8,16", "--servers", "puma,original", "--threads=2")

    expect(setup.to_h).to include(subject: "page", processes: 4, threads: 2, connections: [8, 16], servers: %i[puma original])
  end

  it "never writes a quick run over the published results, and lets the rest of a quick run be chosen" do
    setup = parse("--rounds", "3", "hello", "--quick")

    expect(setup.to_h).to include(quick: true, rounds: 3, duration: 1, output: Bench::SCRATCH)
  end

  it "chooses among the cases of the static contest" do
    expect(parse("static", "--only", "1kb,304").to_h).to include(subject: "static", only: %w[1kb 304])
  end

  it "publishes the static contest only when all its cases and servers take part" do
    outputs = [%w[static], %w[static --only css], %w[static --servers passenger,nginx], %w[static --servers nginx,passenger,puma],
               %w[static --only css --output /x]].to_h { |words| [words.join(" "), parse(*words).output] }

    expect(outputs.values).to eq [Bench::DOCUMENTS, Bench::SCRATCH, Bench::SCRATCH, Bench::DOCUMENTS, "/x"]
  end

  it "takes the parts of the pool's contest after its name, and publishes them only all together" do
    expect(parse("pool", "kills", "flood", "--kill-duration", "7").to_h)
      .to include(subject: "pool", only: %w[kills flood], kill_duration: 7, flood: 10_000, restarts: 20, output: Bench::SCRATCH)
    expect(parse("pool").to_h).to include(only: nil, output: Bench::DOCUMENTS)
    expect(parse("pool", "--servers", "passenger").output).to eq Bench::SCRATCH
  end

  it "keeps the command for the record" do
    expect(parse("all", "--only", "hello,page").command).to eq "bin/bench all --only hello,page"
  end

  {
    [] => /name one thing to measure: hello, body120k, body3m, page, all, boot, idle, static, static-memory, pool/,
    %w[hello page] => /name one thing/,
    %w[helo] => /can't measure "helo"/,
    %w[hello --rounds 0] => /--rounds wants a whole number above 0, not "0"/,
    %w[hello --duration soon] => /--duration wants a whole number above 0, not "soon"/,
    %w[hello --connections 16,x] => /--connections wants a whole number above 0, not "x"/,
    %w[hello --servers puma,unicorn] => /--servers does not know unicorn; there are passenger, puma, original, nginx/,
    %w[static --only hello] => /--only does not know hello; there are 1kb, 4kb, 64kb, 10mb, css, page, 304/,
    %w[boot --only hello] => /--only chooses among the parts of all, static, .*not of boot/,
    %w[pool affinity flod] => /--only does not know flod; there are affinity, restarts, kills, memory, flood, refork/,
    %w[pool --flood 0] => /--flood wants a whole number above 0, not "0"/,
    %w[all --only front] => /--only does not know front/,
    %w[hello --fast] => /invalid option: --fast/
  }.each do |arguments, message|
    it "refuses `#{arguments.join(' ')}`" do
      expect { parse(*arguments) }.to raise_error(Bench::Error, message)
    end
  end
end
