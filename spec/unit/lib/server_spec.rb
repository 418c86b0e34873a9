# frozen_string_literal: true

require "timeout"
require_relative "../../../lib/phusion_passenger/server"

RSpec.describe PhusionPassenger::Server do
  # Stands in for the engine: reports what the example writes, and notes what it is told.
  engine_class = Class.new do
    attr_reader :events, :told, :reports

    def initialize(answer_stop: true)
      @answer_stop = answer_stop
      @told = []
      @events, @reports = IO.pipe
    end

    def start
      @started = true
      report("listening http://127.0.0.1:1/")
    end

    def started? = @started

    def stop(force: false)
      @told << (force ? :force : :drain)
      report("stopped 0") if @answer_stop || force
    end

    def restart = @told << :restart

    def report(line) = @reports.write("#{line}\n")

    def read_events
      chunk = @events.read_nonblock(4096, exception: false)
      raise PhusionPassenger::Engine::Error, "gone" if chunk.nil?

      chunk.lines(chomp: true).map { |line| PhusionPassenger::Engine::Event.new(*line.split(" ", 2).tap { |parts| parts[0] = parts[0].to_sym }) }
    end
  end

  let(:engine) { engine_class.new }
  let(:seen) { [] }

  def server(engine, **options)
    described_class.new(engine, shutdown_timeout: 0, **options) { |event| seen << event.to_a.compact }
  end

  around { |example| Timeout.timeout(20) { example.run } }

  it "serves until it is stopped, and returns 0 after an orderly stop" do
    code = server(engine).run(&:stop)
    expect([code, engine.told]).to eq([0, [:drain]])
  end

  it "passes on what happens, in order" do
    server(engine).run do |running|
      engine.report("ready")
      engine.report("boot_error 0123abcd")
      running.stop
    end
    expect(seen).to eq(
      [[:listening, "http://127.0.0.1:1/"], [:ready], [:boot_error, "0123abcd"], [:stopping, "drain"], [:stopped, "0"]]
    )
  end

  it "knows its URL when the engine has told it" do
    running = server(engine)
    running.run(&:stop)
    expect(running.url).to eq("http://127.0.0.1:1/")
  end

  it "restarts the application when asked to" do
    server(engine).run { |running| running.restart.then { running.stop } }
    expect(engine.told).to eq(%i[restart drain])
  end

  %w[INT TERM].each do |name|
    it "stops in order at #{name}" do
      expect(server(engine).run { Process.kill(name, Process.pid) }).to eq(0)
      expect(engine.told).to eq([:drain])
    end
  end

  it "stops at once at the second signal, and returns 1" do
    slow = engine_class.new(answer_stop: false)
    code = server(slow).run do
      Process.kill("INT", Process.pid)
      Thread.new do
        sleep(0.01) until slow.told == [:drain]
        Process.kill("INT", Process.pid)
      end
    end
    expect([code, slow.told]).to eq([1, %i[drain force]])
  end

  it "goes on at USR1, which is kept for reopening log files" do
    server(engine).run do |running|
      Process.kill("USR1", Process.pid)
      running.stop
    end
    expect(engine.told).to eq([:drain])
  end

  it "stops when its terminal is closed" do
    server(engine, interactive: true).run { Process.kill("HUP", Process.pid) }
    expect(engine.told).to eq([:drain])
  end

  it "goes on at HUP when it was not started in a terminal" do
    server(engine, interactive: false).run do |running|
      Process.kill("HUP", Process.pid)
      running.stop
    end
    expect(seen.count { |kind,| kind == :stopping }).to eq(1)
  end

  it "leaves HUP ignored if that is how it was started (nohup)" do
    before = trap("HUP", "IGNORE")
    server(engine, interactive: true).run do |running|
      expect(trap("HUP", "IGNORE")).to eq("IGNORE")
      running.stop
    end
  ensure
    trap("HUP", before)
  end

  it "gives signals back to whom they belonged" do
    before = %w[INT TERM HUP USR1].map { |name| [name, trap(name, "DEFAULT")] }
    server(engine).run(&:stop)
    expect(before.map { |name, _| trap(name, "DEFAULT") }).to all(eq("DEFAULT"))
  ensure
    before.each { |name, handler| trap(name, handler) }
  end

  it "does not wait for an engine that never stops" do
    stub_const("PhusionPassenger::Server::STOP_GRACE", 0.05)
    stuck = engine_class.new(answer_stop: false)
    expect { server(stuck).run(&:stop) }.to raise_error(PhusionPassenger::Engine::Error, /did not stop within 0.05 seconds/)
  end

  it "reports an engine that ends without being told to" do
    dying = engine_class.new
    expect { server(dying).run { dying.reports.close } }.to raise_error(PhusionPassenger::Engine::Error, "gone")
  end

  it "ends the engine when the thread that runs it is ended" do
    runner = Thread.new { server(engine).run { Thread.main.wakeup } }
    sleep(0.01) until engine.started?
    runner.kill.join
    expect(engine.told).to eq([:force])
  end

  it "leaves signals to the main thread when it runs in another" do
    handler = nil
    Thread.new do
      server(engine).run do |running|
        handler = trap("INT", "DEFAULT")
        trap("INT", handler)
        running.stop
      end
    end.join
    expect(handler.to_s).not_to include("server.rb")
  end
end
