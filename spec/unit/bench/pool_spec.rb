# frozen_string_literal: true

require_relative "../../../bench/bench"
require "tmpdir"

RSpec.describe Bench::Pool do
  describe Bench::Pool::Tally do
    it "finds quantiles among the values themselves" do
      values = (1..100).to_a

      expect([0.5, 0.99, 1.0].map { |share| described_class.quantile(values, share) }).to eq [50, 99, 100]
      expect(described_class.quantile([7], 0.99)).to eq 7
      expect(described_class.quantile([], 0.5)).to be_nil
    end

    it "counts all failures, and tells the first ones with their moment" do
      tally = described_class.new(100.0)
      60.times { |number| tally.failed("status 502", 101.0 + number) }
      tally.closed
      tally.answered(0.5, "x")
      tally.answered(1.5, "x")

      expect(tally.to_h).to include(failures: { "status 502" => 60 }, closed: 1, answered: 2, long: 1, max: 1.5, runs: nil)
      expect(tally.to_h[:told].size).to eq 50
      expect(tally.to_h[:told].first).to eq [1.0, "status 502"]
    end
  end

  describe Bench::Pool::Outcome do
    it "adds up what several groups have met with" do
      one = described_class.new(answered: 3, closed: 1, long: 0, failures: { "status 502" => 1 }, told: [[2.0, "status 502"]], max: 0.5)
      two = described_class.new(answered: 4, closed: 0, long: 2, failures: { "status 502" => 2, "closed" => 1 }, told: [[1.0, "closed"]], max: 1.5)
      all = described_class.sum([one, two, described_class.new(answered: 0, closed: 0, long: 0, failures: {}, told: [])])

      expect(all.to_h).to include(answered: 7, closed: 1, long: 2, max: 1.5, told: [[1.0, "closed"], [2.0, "status 502"]])
      expect(all.failed).to eq 4
      expect(all.failures_in_words).to eq "3 × status 502, 1 × closed"
      expect(described_class.sum([]).failures_in_words).to eq "0"
    end
  end

  describe Bench::Pool::Sharing do
    # Requests as [process, beginning, end], in milliseconds.
    def shared(*runs)
      described_class.count(runs.map { |pid, began, ended| [pid, began * 1000, ended * 1000] }, processes: 2)
    end

    it "counts a request that joins another one while a process is idle" do
      expect(shared([1, 0, 20], [2, 0, 5], [1, 10, 30])).to eq 1
    end

    it "knows that a process is idle that never gets a request" do
      expect(shared([1, 0, 20], [1, 10, 30])).to eq 1
    end

    it "does not count one that joins while all others are at work" do
      expect(shared([1, 0, 20], [2, 0, 40], [1, 10, 30])).to eq 0
    end

    it "does not count one that has a process to itself" do
      expect(shared([1, 0, 20], [2, 0, 5], [2, 10, 30])).to eq 0
    end

    it "does not count one that joins when the other process has only just become idle" do
      expect(shared([1, 0, 20], [2, 0, 9], [1, 10, 30])).to eq 0
    end

    it "does not count one that joins when the other process had something on its way" do
      expect(shared([1, 0, 20], [2, 0, 5], [1, 10, 30], [2, 11, 12])).to eq 0
    end

    it "sees a long request behind short ones that began later" do
      expect(shared([1, 0, 100], [1, 10, 20], [2, 0, 200], [1, 50, 60], [2, 300, 301])).to eq 0
      expect(shared([1, 0, 100], [1, 50, 60], [2, 0, 20])).to eq 1
    end
  end

  describe Bench::Pool::Site do
    around { |example| Dir.mktmpdir { |dir| (@dir = dir) && example.run } }

    let(:site) { described_class.new("x", passenger_options: %w[--max-requests 5]).tap { |site| site.prepare(@dir, nil) } }

    it "is the pool's application, with what is needed to restart it" do
      expect(File.read(site.startup_file)).to eq File.read(described_class::PROGRAM)
      site.restart
      expect(File).to exist(File.join(site.root, "tmp/restart.txt"))
      expect(site.passenger_options).to eq %w[--no-turbocaching --max-requests 5]
    end

    it "can be broken and repaired" do
      site.break
      expect { eval(File.read(site.startup_file)) }.to raise_error("this code does not boot") # rubocop:disable Security/Eval
      site.repair
      expect(File.read(site.startup_file)).to eq File.read(described_class::PROGRAM)
    end

    it "is a valid program in both forms" do
      %w[pool.ru warm.ru].each do |name|
        expect { RubyVM::InstructionSequence.compile_file(File.join(Bench::App::APPS, name)) }.not_to raise_error
      end
    end
  end

  describe Bench::Pool::Admin do
    around { |example| Dir.mktmpdir { |dir| (@dir = dir) && example.run } }

    let(:server) { Struct.new(:launch, :log_tail).new(Bench::Launch.new(dir: @dir), "the log") }
    let(:admin) { described_class.new(server) }

    def answering(*responses)
      FileUtils.mkdir_p(File.join(@dir, "passenger.abc/agents.s"))
      socket = UNIXServer.new(File.join(@dir, "passenger.abc/agents.s/core_api"))
      thread = Thread.new do
        responses.each { |text| socket.accept.tap { |client| client.gets("\r\n\r\n") }.tap { |client| client.write(text) }.close }
      end
      yield
    ensure
      thread&.kill&.join
      socket&.close
    end

    def status(*states)
      body = JSON.generate("workers" => states.map { |state| { "state" => state } })
      "HTTP/1.1 200 OK\r\nContent-Length: #{body.bytesize}\r\n\r\n#{body}"
    end

    it "reads the status and finds the processes that serve" do
      answering(status("ready", "starting", "ready")) { expect(admin.ready.size).to eq 2 }
    end

    it "waits for a status that is as wanted, and returns it" do
      answering(status("starting"), status("starting"), status("ready")) do
        found = admin.wait_for("a process", every: 0) { |now| admin.ready(now).any? }
        expect(found).to eq("workers" => [{ "state" => "ready" }])
      end
    end

    it "says what it waited for, and what there was instead" do
      answering(status("starting")) do
        expect { admin.wait_for("a process", seconds: 0) { |now| admin.ready(now).any? } }
          .to raise_error(Bench::Error, /waited for a process for 0 s.*"starting".*the log/m)
      end
    end

    it "says that there is no socket, and what an answer was that is none" do
      expect { admin.status }.to raise_error(Bench::Error, /no admin socket below #{@dir}/)
      answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno") { expect { admin.status }.to raise_error(Bench::Error, /answered 403: no/) }
    end
  end

  describe Bench::Pool::Crowd do
    it "counts the clients that sent their request before they left, and those that got no connection" do
      listener = TCPServer.new("127.0.0.1", 0)
      server = Struct.new(:launch).new(Bench::Launch.new(host: "127.0.0.1", port: listener.addr[1]))
      heard = Thread.new { Array.new(3) { listener.accept.gets } }
      crowd = described_class.new(server, "/x", 3, 0.05).run

      expect([crowd.sent, crowd.unconnected]).to eq [3, 0]
      expect(heard.value.compact.uniq).to eq ["GET /x HTTP/1.1\r\n"]
      listener.close
      expect(described_class.new(server, "/x", 2, 0).run.unconnected).to eq 2
    end
  end

  describe Bench::Pool::Contest do
    let(:progress) { StringIO.new }

    before do
      working = Class.new(Bench::Pool::Part) do
        def run = self
        def title = "What works"
        def name = "works"
        def about = "How"
        def tables = "| a |"
        def verdicts = [Bench::Pool::Verdict.new(true, "good"), Bench::Pool::Verdict.new(false, "not so good")]
        def panels = []
      end
      failing = Class.new(Bench::Pool::Part) { def run = raise(Bench::Error, "no server") }
      stub_const("Bench::Pool::PARTS", [working, failing])
      allow(working).to receive(:part_name).and_return("works")
      allow(failing).to receive(:part_name).and_return("fails")
      working.const_set(:TITLE, "What works")
      failing.const_set(:TITLE, "What fails")
    end

    it "goes on when a part can't be measured, and says so" do
      contest = described_class.new(Bench::Setup.parse(%w[pool]), progress).run

      expect(contest.faults).to eq ["ERROR: fails: no server"]
      expect(contest.parts.map(&:name)).to eq ["works"]
      expect(contest.verdicts).to eq ["met     good [works]", "MISSED  not so good [works]"]
      expect(contest.tables).to eq "### What works\n\nHow\n\n| a |"
      expect(contest.plot).to be_nil
    end

    it "runs the parts that were chosen" do
      setup = Bench::Setup.parse(%w[pool]).tap { |chosen| chosen.only = ["works"] }

      expect(described_class.new(setup, progress).run.faults).to be_empty
    end
  end
end
