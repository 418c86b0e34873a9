# frozen_string_literal: true

require_relative "../../../bench/bench"
require "tmpdir"

RSpec.describe Bench::Keeper do
  around { |example| Dir.mktmpdir { |dir| (@dir = dir) && example.run } }

  let(:log) { File.join(@dir, "log") }

  def keeper(script)
    described_class.new([RbConfig.ruby, "--disable-gems", "-e", script],
                        env: { "GREETING" => "hello" }, chdir: @dir, log: log, graceful: 1)
  end

  def eventually(&condition)
    Bench::Clock.wait_until(10, &condition) or raise "this did not happen within 10 s"
  end

  # A daemon as of old: two forks and a new session, so that only its standing parent could still tell where it came from.
  let(:daemon) { 'fork { Process.setsid; fork { $0 = "a daemon"; sleep }; exit! }; Process.wait; $0 = "its server"; sleep' }

  it "keeps account of processes that turned themselves into daemons, and ends them" do
    kept = keeper(daemon)
    kept.start
    eventually { kept.processes.map(&:title).sort == ["a daemon", "its server"] }
    pids = kept.processes.map(&:pid)

    killed = kept.stop

    expect(killed.join).to include("a daemon") # TERM goes to the server alone; what it leaves behind is killed and reported.
    expect(pids.filter_map { |pid| Bench::ProcessTree.find(pid) }).to be_empty
  end

  it "counts the CPU time of processes that have ended" do
    kept = keeper("pid = fork { t = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID); " \
                  "nil while Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID) - t < 0.2 }; " \
                  'Process.wait(pid); $0 = "done"; sleep')
    kept.start
    eventually { kept.processes.map(&:title) == ["done"] }

    expect(kept.cpu_seconds).to be_between(0.15, 2)
  ensure
    kept.stop
  end

  it "ends the server when the harness is killed" do
    harness = IO.popen([RbConfig.ruby, "-r", File.expand_path("../../../bench/bench", __dir__), "-e", <<~RUBY])
      kept = Bench::Keeper.new(["/bin/sleep", "60"], env: {}, chdir: "/", log: #{log.dump})
      puts kept.start.pid
      $stdout.flush
      sleep
    RUBY
    server = Integer(harness.gets, 10)
    expect(Bench::ProcessTree.find(server).title).to eq "/bin/sleep 60"
    Process.kill(:KILL, harness.pid)
    harness.close

    eventually { Bench::ProcessTree.find(server).nil? }
  end

  it "starts the server in the given directory with the given environment alone" do
    kept = keeper('puts ENV["GREETING"], ENV.key?("PATH"), Dir.pwd; $stdout.flush; sleep')
    kept.start
    eventually { File.exist?(log) && File.read(log).lines.size == 3 }

    expect(File.read(log)).to eq "hello\nfalse\n#{File.realpath(@dir)}\n"
  ensure
    kept.stop
  end

  it "says so when the command does not exist" do
    kept = described_class.new(["/nonexistent/server"], env: {}, chdir: @dir, log: log)

    expect { kept.start }.to raise_error(Bench::Error, %r{can't start `/nonexistent/server`: No such file})
    expect(kept.stop).to eq []
  end
end
