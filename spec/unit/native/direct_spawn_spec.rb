# frozen_string_literal: true

require_relative "stand_in_engine"

# A process that loads the application and serves it by itself.
RSpec.describe "Direct spawning" do
  include_context "with application processes"

  def directly(config, **options) = serving(config, spawn_method: "direct", **options)

  it "makes the process that has loaded the application its worker" do
    directly("$loaded_in = $$\n" + app('"#{$$ == $loaded_in} #{PhusionPassenger::App.options["spawn_method"]}"'))
    expect(@engine.worker_pid).to eq(@engine.pid)
    expect(@engine.get("/")).to eq("true direct")
  end

  it "ends the loader's control socket on both sides, and neither end ends the worker" do
    directly(app("'alive'"))
    expect(@engine.heard).to be_nil # so nothing in the process holds it, nor waits for its end
    @engine.hang_up
    expect(@engine.get("/")).to eq("alive")
    expect(sockets_of(@engine.pid).size).to eq(3) # control, queue, slot
  end

  it "fires the events in the documented order, with false for a process that was not forked" do
    names = %i[starting_worker_process credentials after_installing_signal_handlers starting_request_handler_thread stopping_worker_process]
    directly(<<~RUBY, threads: 2)
      #{names.inspect}.each { |name| PhusionPassenger.on_event(name) { |*given| warn("EVENT \#{name} \#{given}") } }
      at_exit { warn("EVENT at_exit") }
      #{app("1")}
    RUBY
    @engine.end_queue
    expect(@engine.status.exitstatus).to eq(0)
    expect(@engine.output.scan(/^EVENT .*/)).to eq(
      ["EVENT starting_worker_process [false]", "EVENT credentials []", "EVENT after_installing_signal_handlers []",
       "EVENT starting_request_handler_thread []", "EVENT starting_request_handler_thread []",
       "EVENT stopping_worker_process []", "EVENT at_exit"]
    )
  end

  it "keeps the threads that the application has started while it was loaded, without a warning" do
    engine("$thread = Thread.new { sleep }\n#{app("$thread.alive?")}", spawn_method: "direct").start
    expect(@engine.heard).to match(["loaded", hash_excluding("threads")])
    @engine.worker
    expect(@engine.get("/")).to eq("true")
    expect(@engine.output).to eq("")
  end

  it "keeps the sockets of the loader and of the worker from processes that the application forks" do
    directly("$child = fork { sleep 20 }\n#{app("$child")}")
    child = Integer(@engine.get("/"))
    expect(sockets_of(child)).to eq([])
  ensure
    Process.kill("KILL", child) if child
  end

  it "shows in ps what the process is" do
    engine(app("1"), spawn_method: "direct").start
    @engine.heard
    title = -> { File.read("/proc/#{@engine.pid}/cmdline").delete("\0").strip }
    expect(title.call).to eq("Passenger AppLoader: #{@dir}")
    @engine.worker
    expect(title.call).to eq("Passenger RubyApp: #{@dir} (production)")
  end

  it "reports what the application raises" do
    engine("raise 'no start'", spawn_method: "direct").start
    expect(@engine.heard).to match(["boot_error", hash_including("message" => "no start")])
    expect(@engine.status.exitstatus).to eq(1)
  end

  it "reports an event handler that fails, on the control socket of the worker" do
    engine("PhusionPassenger.on_event(:starting_worker_process) { raise 'not today' }\n#{app("1")}", spawn_method: "direct").start
    @engine.heard
    @engine.worker(1, wait: false)
    expect(@engine.heard.first).to eq("spawned")
    expect(@engine.heard(@engine.worker_control).last).to include("message" => "not today")
    expect(@engine.status.exitstatus).to eq(1)
  end

  it "ends when the engine goes away, before and after the process has become a worker" do
    engine(app("1"), spawn_method: "direct").start
    @engine.heard
    @engine.die
    expect(@engine.status.exitstatus).to eq(0)
    @engine.finish

    directly("run ->(env) { warn 'BEGUN'; loop { sleep } }")
    @engine.request("/")
    @engine.written(/BEGUN/)
    @engine.die
    expect(seconds_until_gone(@engine.pid)).to be < 1.2
  end

  it "is refused by name when the engine asks for another method" do
    engine(app("1"), spawn_method: "conservative").start
    expect(@engine.heard).to be_nil
    @engine.written(/the spawn_method is smart or direct, not "conservative"/)
  end
end
