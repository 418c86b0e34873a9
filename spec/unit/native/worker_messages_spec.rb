# frozen_string_literal: true

require_relative "stand_in_engine"

# What the engine and a worker tell each other while it serves.
RSpec.describe "A worker's control socket" do
  include_context "with application processes"

  def control = @engine.worker_control

  def heard = @engine.heard(control)

  describe "backtrace" do
    def backtrace(slots = "")
      control.post("backtrace", "slots" => slots, "token" => "t1")
      verb, fields = heard
      expect([verb, fields["token"]]).to eq(%w[backtrace t1])
      fields["text"]
    end

    STUCK = {
      "a busy loop" => "loop { }",
      "a sleep" => "sleep",
      "reading" => "IO.pipe.first.read",
      "a lock" => "Thread::Queue.new.pop"
    }.freeze

    STUCK.each do |what, code|
      it "tells where a thread is that is stuck in #{what}" do
        serving("def stuck_here = #{code}\nrun ->(env) { warn 'BEGUN'; stuck_here }")
        @engine.request("/")
        @engine.written(/BEGUN/)
        expect(backtrace).to match(/\Aslot 0: thread passenger slot 0\n(    \S.*\n)*    #{@dir}\/config.ru:1:in `stuck_here'\n/)
      end
    end

    it "is of those slots that are asked for, and of all if none is named" do
      serving("def stuck_here = sleep\nrun ->(env) { warn 'BEGUN'; stuck_here }", threads: 3)
      2.times { @engine.request("/") }
      @engine.written(/BEGUN.*BEGUN/m)
      expect(backtrace.scan(/^slot (\d)/).flatten).to eq(%w[0 1 2])
      expect(backtrace.scan("in `stuck_here'").size).to eq(2)
      expect(backtrace("2,0").scan(/^slot (\d)/).flatten).to eq(%w[2 0])
      expect(backtrace("7")).to eq("slot 7: is not one of this worker's\n")
    end

    it "fits into a message however deep the stack is" do
      serving(<<~RUBY, threads: 2)
        def a_method_whose_name_takes_some_room_in_the_backtrace(n) = n.zero? ? (warn('BEGUN'); sleep) : a_method_whose_name_takes_some_room_in_the_backtrace(n - 1)
        run ->(env) { a_method_whose_name_takes_some_room_in_the_backtrace(2_000) }
      RUBY
      2.times { @engine.request("/") }
      @engine.written(/BEGUN.*BEGUN/m)
      text = backtrace
      expect(text.bytesize).to be <= 48 * 1024
      expect(text.scan(/^slot (\d)/).flatten).to eq(%w[0 1])
      expect(text.scan(/^    … (\d+) lines in all$/).flatten.map(&:to_i)).to all(be > 2_000)
      expect(text.lines).to all(match(/\A(slot|    )/))
    end
  end

  describe "out-of-band work" do
    # Asks for it in every response, and tells how it is done.
    ASKING = <<~RUBY
      PhusionPassenger.on_event(:oob_work) { warn("WORK \#{Thread.current == Thread.main}") }
      run ->(env) { [200, { "!~Request-OOB-Work" => "true", "x-other" => "1" }, ["asked"]] }
    RUBY

    it "is asked for with a header, which nobody else sees, and done on command" do
      serving(ASKING)
      @engine.request("/")
      type, payload = @engine.frame
      expect([type, payload.b]).to match([:complete, include("x-other").and(end_with("asked"))])
      expect(payload).not_to match(/oob/i)
      expect(heard).to eq(["oob_wanted", {}])
      expect(@engine.output).not_to include("WORK")
      control.post("oob_work")
      expect(heard).to eq(["oob_done", {}])
      expect(@engine.output).to include("WORK true")
      expect(@engine.get("/")).to eq("asked")
      expect(heard).to eq(["oob_wanted", {}])
    end

    it "is asked for once, until it is done" do
      serving(ASKING)
      3.times { @engine.get("/") }
      expect(heard).to eq(["oob_wanted", {}])
      control.post("oob_work")
      expect(heard).to eq(["oob_done", {}])
    end

    it "waits for running requests, and no request runs meanwhile; then the same threads go on" do
      serving(<<~RUBY, threads: 2)
        started = 0
        PhusionPassenger.on_event(:starting_request_handler_thread) { started += 1 }
        PhusionPassenger.on_event(:oob_work) do
          warn("WORK \#{$running.inspect}")
          File.read(File.join(__dir__, "gate")) # a FIFO
          warn("WORKED \#{$running.inspect}")
        end
        $running = []
        run ->(env) {
          $running << env["PATH_INFO"]
          Thread.current[:mine] ||= "thread"
          if env["PATH_INFO"] == "/slow"
            warn("SLOW")
            sleep(0.4)
          end
          $running.delete(env["PATH_INFO"])
          [200, {}, ["\#{env["PATH_INFO"]} \#{started}"]]
        }
      RUBY
      File.mkfifo(gate = File.join(@dir, "gate"))
      @engine.request("/slow")
      @engine.written(/SLOW/)
      control.post("oob_work")
      expect(@engine.frame.last).to end_with("/slow 2")
      @engine.written(/WORK \[\]/)
      @engine.request("/next")
      File.write(gate, "")
      expect(heard).to eq(["oob_done", {}])
      expect(@engine.frame.last).to end_with("/next 2")
      expect(@engine.output).to include("WORKED []")
    end

    it "that fails is logged, and the worker goes on" do
      serving("PhusionPassenger.on_event(:oob_work) { raise 'no work today' }\n#{app("'on'")}")
      control.post("oob_work")
      expect(heard).to eq(["oob_done", {}])
      expect(@engine.written(/no work today/)).to include("an event handler for :oob_work failed")
      expect(@engine.get("/")).to eq("on")
    end

    it "does not keep a worker from leaving" do
      serving(<<~RUBY)
        PhusionPassenger.on_event(:oob_work) do
          warn("WORK")
          File.read(File.join(__dir__, "gate")) # a FIFO
        end
        #{app("1")}
      RUBY
      File.mkfifo(gate = File.join(@dir, "gate"))
      control.post("oob_work")
      @engine.written(/WORK/)
      control.post("stop")
      File.write(gate, "")
      expect(@engine.heard.last).to include("status" => "exit 0")
    end

    it "is left out if the worker is to leave before its requests are finished" do
      serving(<<~RUBY)
        PhusionPassenger.on_event(:oob_work) { warn("WORK") }
        run ->(env) { warn("BEGUN"); sleep(0.3); [200, {}, ["finished"]] }
      RUBY
      @engine.request("/")
      @engine.written(/BEGUN/)
      control.post("oob_work")
      control.post("stop")
      expect(@engine.answer.last).to end_with("finished")
      expect(@engine.heard.last).to include("status" => "exit 0")
      expect(@engine.output).not_to include("WORK")
    end

    it "goes on with a thread that the application kills meanwhile" do
      serving(<<~RUBY)
        PhusionPassenger.on_event(:starting_request_handler_thread) { warn("THREAD \#{Thread.current.object_id}") }
        PhusionPassenger.on_event(:oob_work) { Thread.list.each { |thread| thread.kill if thread.name.to_s.start_with?("passenger slot") } }
        #{app("'on'")}
      RUBY
      control.post("oob_work")
      expect(heard).to eq(["oob_done", {}])
      expect(@engine.get("/")).to eq("on")
      expect(@engine.output.scan(/THREAD/).size).to eq(2)
    end
  end

  it "takes a message that it does not know for one of another version" do
    serving(app("'on'"))
    control.post("dance")
    @engine.written(/the engine sent "dance", which this process does not know/)
    expect(@engine.get("/")).to eq("on")
  end

  it "can be told to stop without cutting the application's sleep short" do
    serving(<<~RUBY)
      run ->(env) { warn "BEGUN"; start = Process.clock_gettime(Process::CLOCK_MONOTONIC); sleep(0.5)
                    [200, {}, [(Process.clock_gettime(Process::CLOCK_MONOTONIC) - start >= 0.5).to_s]] }
    RUBY
    @engine.request("/")
    @engine.written(/BEGUN/)
    control.post("stop")
    expect(@engine.answer.last).to end_with("true")
  end

  it "does not keep a worker to the number of connections that select(2) could handle" do
    soft, hard = Process.getrlimit(:NOFILE)
    Process.setrlimit(:NOFILE, 512, hard)
    begin
      serving(app("Process.getrlimit(:NOFILE).join(' ')"))
    ensure
      Process.setrlimit(:NOFILE, soft, hard)
    end
    expect(@engine.get("/")).to eq("#{[hard, 65_536].min} #{hard}")
  end
end
