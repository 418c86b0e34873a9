# frozen_string_literal: true

require_relative "../../../bench/bench"

RSpec.describe Bench::ProcessTree do
  def stat(pid, parent, name: "ruby", own: [10, 5], reaped: [2, 1])
    "#{pid} (#{name}) S #{parent} 1 1 0 -1 4194560 100 200 0 0 #{own.join(' ')} #{reaped.join(' ')} 20 0 1 0 500 1000 50\n"
  end

  it "reads parent, state and times" do
    entry = described_class.parse_stat(stat(42, 7))

    expect(entry.to_a).to eq [42, 7, "S", 15, 3]
    expect(entry.cpu_seconds).to eq 18 / described_class::TICKS_PER_SECOND
  end

  it "is not misled by a process name with blanks and parentheses" do
    expect(described_class.parse_stat(stat(42, 7, name: "a) S 1 (b"))).to eq described_class.parse_stat(stat(42, 7))
  end

  it "finds all generations below a process, and nobody else" do
    entries = [[2, 1], [3, 2], [4, 3], [5, 1], [6, 2]].map { |pid, parent| described_class.parse_stat(stat(pid, parent)) }

    expect(described_class.descendants(2, entries).map(&:pid)).to contain_exactly(3, 4, 6)
  end

  it "reads memory in bytes" do
    memory = described_class::Memory.parse(<<~SMAPS)
      55d0c6a00000-7ffd3c9f2000 ---p 00000000 00:00 0                          [rollup]
      Rss:               19000 kB
      Pss:                7920 kB
      Pss_Anon:           3000 kB
      Private_Clean:       250 kB
      Private_Dirty:      3000 kB
    SMAPS

    expect(memory.to_a).to eq [19_000 * 1024, 7920 * 1024, 3250 * 1024]
    expect(memory + memory).to eq described_class::Memory.new(38_000 * 1024, 15_840 * 1024, 6500 * 1024)
  end

  it "knows this very process" do
    entry = described_class.find(Process.pid)

    expect(entry.parent).to eq Process.ppid
    expect(entry.title).to match(/rspec|ruby/)
    expect(described_class.memory(Process.pid).rss).to be > described_class.memory(Process.pid).private
    expect(described_class.peak(Process.pid)).to be >= 1024 * 1024
  end

  it "has no peak of a process that has ended" do
    pid = Process.spawn("true")
    Process.wait(pid)

    expect(described_class.peak(pid)).to be_nil
  end
end
