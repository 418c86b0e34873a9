# frozen_string_literal: true

require_relative "stand_in_engine"

# A worker that has served for a while becomes the preloader of the next workers.
RSpec.describe "A worker that is promoted" do
  include_context "with application processes"

  # What the worker says; then what the preloader says that it has become.
  def promoted(number = 1)
    verb, fields = @engine.promote(number)
    expect(verb).to eq("promoted"), "#{verb} #{fields}\n#{@engine.output}"
    pid = Integer(fields["pid"])
    expect(@engine.heard).to match(["loaded", hash_including("pid" => pid.to_s)]), @engine.output
    @preloaders << pid
    pid
  end

  before { @preloaders = [] }

  # They are no children of this process, so their end can't be waited for.
  after do
    @engine&.die
    seconds_until_gone(*@preloaders)
  end

  WARM = <<~RUBY
    $cache = []
    run ->(env) { $cache << $$; [200, {}, [$cache.join(" ")]] }
  RUBY

  it "leaves, and passes on to the workers of its successor what it has in memory" do
    serving(WARM)
    old = @engine.worker_pid
    expect(@engine.get("/")).to eq(old.to_s)
    preloader = promoted
    expect(@engine.heard(@engine.worker_control)).to be_nil
    seconds_until_gone(old)
    @engine.worker(2)
    expect(File.read("/proc/#{@engine.worker_pid(2)}/stat")[/\) \S (\d+)/, 1].to_i).to eq(preloader)
    expect(@engine.get("/")).to eq("#{old} #{@engine.worker_pid(2)}")
  end

  it "exits in the usual way" do
    serving(app("1"))
    @engine.promote
    expect(@engine.heard).to match(["loaded", anything])
    @engine.instance_variable_get(:@retired).last.then do |former|
      expect(@engine.heard(former)).to match(["exited", hash_including("pid" => @engine.worker_pid.to_s, "status" => "exit 0")])
    end
  end

  it "finishes its requests first, and takes no other" do
    serving("run ->(env) { warn 'BEGUN'; sleep 0.3; [200, {}, ['finished']] }", threads: 2)
    @engine.request("/")
    @engine.written(/BEGUN/)
    promoted
    expect(@engine.answer).to match([:complete, /finished\z/])
  end

  it "can be promoted over and over" do
    serving(WARM)
    pids = 3.times.map do |generation|
      @engine.get("/")
      promoted(generation + 1)
      @engine.worker(generation + 2)
      @engine.worker_pid(generation + 1)
    end
    expect(@engine.get("/")).to eq([*pids, @engine.worker_pid(4)].join(" "))
    expect(@engine.output).to eq("")
  end

  it "tells the same facts about the application, but not of threads, which no longer exist" do
    engine("PhusionPassenger.advertised_concurrency_level = 4\nThread.new { sleep }.name = 'extra'\n#{app("1")}").start
    first = @engine.heard.last
    @engine.worker
    @engine.promote
    second = @engine.heard.last
    expect(first).to include("concurrency" => "4", "threads" => "extra")
    expect(second.except("pid")).to eq(first.except("pid", "threads"))
  end

  def eventpolls_of(pid)
    Dir.children("/proc/#{pid}/fd").count { |fd| File.readlink("/proc/#{pid}/fd/#{fd}").include?("eventpoll") }
  end

  it "has nothing left of the worker but its memory" do
    engine(<<~RUBY, threads: 2).start
      PhusionPassenger.on_event(:after_installing_signal_handlers) { trap("USR1") { warn("WORKER'S TRAP") } }
      PhusionPassenger.on_event(:starting_worker_process) { Thread.new { sleep } }
      #{app("1")}
    RUBY
    @engine.heard
    @engine.worker(1, direct: true)
    preloader = promoted
    expect(sockets_of(preloader).size).to eq(2) # control, queue
    # Since 3.3 Ruby has one for itself, in every process.
    expect(eventpolls_of(preloader)).to be <= eventpolls_of(@engine.pid)
    expect(File.read("/proc/#{preloader}/cmdline").delete("\0").strip).to eq("Passenger AppPreloader: #{@dir}")
    board = @engine.board_name
    expect(Dir.children("/proc/#{preloader}/fd").count { |fd| File.readlink("/proc/#{preloader}/fd/#{fd}") == board }).to eq(1)
    expect(File.read("/proc/#{preloader}/maps")).not_to include(board.delete_suffix(" (deleted)"))
    Process.kill("USR1", preloader)
    seconds_until_gone(preloader)
    expect(@engine.output).not_to include("WORKER'S TRAP")
  end

  it "prepares connections and memory before it says that it has loaded the application" do
    serving(<<~RUBY)
      PhusionPassenger::ForkSafety.singleton_class.prepend(Module.new { def before_fork = warn("BEFORE FORK \#{$$}") || super })
      #{app("1")}
    RUBY
    expect(@engine.output.scan(/BEFORE FORK (\d+)/).flatten).to eq([@engine.pid.to_s])
    preloader = promoted
    expect(@engine.output.scan(/BEFORE FORK (\d+)/).flatten).to eq([@engine.pid, preloader].map(&:to_s))
  end

  it "leaves to every worker the exit handlers of the application, and to nobody those of another worker" do
    serving(<<~RUBY)
      at_exit { warn("EXIT \#{$$} of the application") }
      PhusionPassenger.on_event(:starting_worker_process) { pid = $$; at_exit { warn("EXIT \#{$$} of worker \#{pid}") } }
      PhusionPassenger.on_event(:stopping_worker_process) { warn("EXIT \#{$$} event") }
      #{app("1")}
    RUBY
    2.times do |generation|
      promoted(generation + 1)
      @engine.worker(generation + 2)
    end
    pids = (1..3).map { |number| @engine.worker_pid(number) }
    @engine.end_queue
    seconds_until_gone(*pids)
    @engine.die
    seconds_until_gone(*@preloaders, @engine.pid)
    seen = @engine.output.scan(/^EXIT (\d+) (.*)$/).group_by(&:first).transform_values { |lines| lines.map(&:last) }
    pids.each { |pid| expect(seen[pid.to_s]).to eq(["event", "of worker #{pid}", "of the application"]) }
    @preloaders.each { |pid| expect(seen[pid.to_s]).to eq(["of the application"]) }
  end

  it "fires the events of a forked worker in the workers of its successor" do
    serving("PhusionPassenger.on_event(:starting_worker_process) { |forked| warn(\"STARTING \#{$$} \#{forked}\") }\n#{app("1")}",
            spawn_method: "direct")
    expect(@engine.output).to include("STARTING #{@engine.worker_pid} false")
    @engine.spawn_method = "smart"
    promoted
    @engine.worker(2)
    expect(@engine.output.scan(/STARTING.*/)).to eq(["STARTING #{@engine.pid} false", "STARTING #{@engine.worker_pid(2)} true"])
    expect(@engine.get("/")).to eq("1")
  end

  it "ends when the engine has gone" do
    serving(app("1"))
    preloader = promoted
    @engine.die
    expect(seconds_until_gone(preloader)).to be < 1.2
  end

  it "says so when it can't be: it is leaving already" do
    serving("run ->(env) { warn 'BEGUN'; sleep 0.5; [200, {}, ['finished']] }")
    @engine.request("/")
    @engine.written(/BEGUN/)
    @engine.worker_control.post("stop")
    expect(@engine.promote).to eq(["promote_error", { "message" => "the worker was leaving already" }])
    expect(@engine.answer).to match([:complete, /finished\z/])
    expect(@engine.heard.last).to include("status" => "exit 0")
  end

  it "says so when it can't be: it can't fork, and leaves all the same" do
    serving(<<~RUBY)
      PhusionPassenger::Worker.define_method(:fork) { raise Errno::EAGAIN }
      #{app("1")}
    RUBY
    expect(@engine.promote).to match(["promote_error", { "message" => /fork failed/ }])
    expect(@engine.heard.last).to include("status" => "exit 0")
  end
end
