# frozen_string_literal: true

require_relative "stand_in_engine"

# A worker that is to leave while the application holds connections that it has taken over.
RSpec.describe "A worker with hijacked connections" do
  HOLDING_APP = <<~RUBY
    SOCKETS = []
    run(lambda do |env|
      if env["PATH_INFO"] == "/in-call"
        warn "IN CALL"
        sleep 0.01 until SOCKETS.all?(&:closed?)
      end
      if env["PATH_INFO"] == "/wait"
        File.write("entered", "")
        sleep(0.005) until File.exist?("gate")
      end
      next [200, {}, [Process.pid.to_s]] unless env["PATH_INFO"] == "/hijack"

      io = env["rack.hijack"].call
      SOCKETS << io
      Thread.new do
        io.write(io.readpartial(100)) until io.wait_readable && io.eof?
        io.close
      end
    end)
  RUBY

  let(:engine) { StandInEngine.new(Dir.mktmpdir, { "config.ru" => HOLDING_APP }, threads: slots) }
  let(:slots) { 1 }

  before do
    engine.start
    expect(engine.heard.first).to eq("loaded")
    engine.worker
    @socket = engine.hijacked("/hijack")
    expect_echo
  end

  after do
    @socket.close unless @socket.closed?
    engine.finish
    FileUtils.rm_rf(engine.dir)
  end

  def expect_echo
    @socket.write("hello")
    expect(Timeout.timeout(10) { @socket.readpartial(100) }).to eq("hello")
  end

  def expect_exit
    verb, fields = engine.heard
    expect([verb, fields["status"]]).to eq(["exited", "exit 0"])
  end

  # The worker has no thread left for requests, and lives.
  def expect_waiting
    Timeout.timeout(10) { sleep(0.005) while threads.grep(/passenger slot/).any? }
    expect(threads).not_to eq([])
    3.times { expect_echo }
  end

  def threads
    Dir.glob("/proc/#{engine.worker_pid}/task/*/comm").map { |file| File.read(file) }
  rescue Errno::ENOENT, Errno::ESRCH
    retry # one has ended while the list was read
  end

  def ended?(pid)
    File.read("/proc/#{pid}/stat").match?(/\A\d+ \(.*\) [ZX]/m)
  rescue Errno::ENOENT, Errno::ESRCH
    true
  end

  def expect_end = expect(Timeout.timeout(10) { @socket.read }).to eq("")

  it "leaves at once when told to stop" do
    engine.worker_control.post("stop")
    expect_exit
    expect_end
  end

  it "leaves at once on SIGTERM" do
    Process.kill(:TERM, engine.worker_pid)
    expect_exit
  end

  it "stays until they are closed when it is told to keep them" do
    engine.worker_control.post("stop", "keep_hijacked" => 1)
    expect_waiting
    @socket.close_write
    expect_exit
    expect_end
  end

  it "waits for the engine's word when the end of the queue comes first" do
    engine.end_queue
    expect_waiting
    engine.worker_control.post("stop", "keep_hijacked" => 1)
    expect_waiting
    @socket.close
    expect_exit
  end

  it "leaves when the end of the queue is followed by a plain stop" do
    engine.end_queue
    expect_waiting
    engine.worker_control.post("stop")
    expect_exit
  end

  describe "with several threads" do
    let(:slots) { 2 }

    # The order of what the control thread and the threads of requests tell the main thread.
    it "leaves when the word comes after the end of the queue, but before the last request is finished" do
      engine.request("/wait")
      Timeout.timeout(10) { sleep(0.005) until File.exist?(File.join(engine.dir, "entered")) }
      engine.end_queue
      Timeout.timeout(10) { sleep(0.005) until threads.grep(/passenger slot/).size == 1 }
      engine.worker_control.post("stop")
      engine.worker_control.post("backtrace", "slots" => "", "token" => "1")
      expect(engine.heard(engine.worker_control).first).to eq("backtrace") # so it has taken note of the first message
      engine.write("gate", "")
      expect_exit
    end
  end

  it "stops keeping them when it is told again, without that" do
    engine.worker_control.post("stop", "keep_hijacked" => 1)
    expect_waiting
    engine.worker_control.post("stop", "keep_hijacked" => 0)
    expect_exit
  end

  it "says so when a request under way may be waiting for their end" do
    engine.request("/in-call")
    engine.written(/IN CALL/)
    engine.worker_control.post("stop", "spread_ms" => 0)
    expect(engine.heard(engine.worker_control).first).to eq("farewell_over")
    expect_echo # closing them is for the engine
    @socket.close
    expect_exit
  end

  it "does not keep them when the engine has gone" do
    engine.worker_control.post("stop", "keep_hijacked" => 1)
    expect_waiting
    pid = engine.worker_pid
    engine.die
    Timeout.timeout(10) { sleep(0.005) until ended?(pid) }
    expect_end
  end
end
