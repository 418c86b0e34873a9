# frozen_string_literal: true

require_relative "stand_in_engine"

# The preloader and the workers as processes, without the Go engine.
RSpec.describe "Application processes" do
  include_context "with application processes"

  describe "a life" do
    it "begins with hello, goes on with requests, and ends with the queue and the control socket" do
      serving(app('"#{env["PATH_INFO"]} #{$$}"'))
      expect(@engine.get("/a")).to eq("/a #{@engine.worker_pid}")
      @engine.end_queue
      expect(@engine.heard).to eq(["exited", { "worker" => "1", "pid" => @engine.worker_pid.to_s, "status" => "exit 0" }])
      @engine.control.close
      expect { Timeout.timeout(5) { Process.wait(@engine.pid) } }.not_to raise_error
    ensure
      @engine = nil
    end

    it "has as many workers as are asked for, in any hurry" do
      engine(app("$$")).start
      expect(@engine.heard.first).to eq("loaded")
      3.times { |number| @engine.worker(number + 1, wait: false) }
      spawned = Array.new(3) { @engine.heard }
      expect(spawned.map { |verb, fields| [verb, fields["worker"]] }).to eq([%w[spawned 1], %w[spawned 2], %w[spawned 3]])
      expect(spawned.map { |_, fields| fields["pid"] }.uniq.size).to eq(3)
      3.times { |number| expect(@engine.heard(@engine.worker_control(number + 1)).first).to eq("ready") }
    end

    it "may go on with a queue of its own" do
      engine(app('"#{env["PATH_INFO"]} #{$$}"')).start
      @engine.heard
      2.times { |index| @engine.worker(index + 1, direct: true) }
      @engine.request("/mine", worker: 2)
      expect(@engine.answer.last).to end_with("/mine #{@engine.worker_pid(2)}")
      @engine.request("/mine", worker: 1)
      expect(@engine.answer.last).to end_with("/mine #{@engine.worker_pid(1)}")
    end

    it "tells by signal how a worker ended, and forks another" do
      serving(app("$$"))
      Process.kill("KILL", @engine.worker_pid)
      expect(@engine.heard).to eq(["exited", { "worker" => "1", "pid" => @engine.worker_pid.to_s, "status" => "signal 9" }])
      @engine.frame # the end of the dead worker's stream
      @engine.worker(2)
      expect(running?(@engine.worker_pid(2))).to be(true)
    end

    it "shows in ps what each process is" do
      serving(app("1"))
      title = ->(pid) { File.read("/proc/#{pid}/cmdline").delete("\0").strip }
      expect(title.call(@engine.pid)).to eq("Passenger AppPreloader: #{@dir}")
      expect(title.call(@engine.worker_pid)).to eq("Passenger RubyApp: #{@dir} (production)")
    end
  end

  describe "loading" do
    def failing(config, files = {})
      engine(config, files).start
      verb, fields = @engine.heard
      expect(verb).to eq("boot_error"), "#{verb} #{fields}"
      expect(@engine.status.exitstatus).to eq(1)
      expect(@engine.output).to include(fields["id"])
      fields
    end

    it "reports what the application raises" do
      fields = failing("# one\nraise 'no start'\n")
      expect(fields).to include("class" => "RuntimeError", "message" => "no start", "file" => "#{@dir}/config.ru", "line" => "2")
      expect(fields["excerpt"]).to include("2: raise 'no start'")
    end

    it "reports a syntax error" do
      expect(failing("run ->(env) {")["class"]).to eq("SyntaxError")
    end

    it "reports exit" do
      expect(failing("exit 3")["class"]).to eq("SystemExit")
    end

    it "reports a library that is missing" do
      expect(failing("require 'no/such/library'")).to include("class" => "LoadError", "message" => %r{no/such/library})
    end

    it "reports a gem that is not installed, with Bundler's words" do
      fields = failing(app("1"), { "Gemfile" => "source 'https://rubygems.org'\ngem 'no_such_gem_at_all'\n" })
      expect(fields["class"]).to start_with("Bundler::")
      expect(fields["message"]).to include("no_such_gem_at_all")
    end

    it "reports that there is no config.ru" do
      engine("")
      File.delete(File.join(@dir, "config.ru"))
      @engine.start
      expect(@engine.heard.last["message"]).to include("#{@dir}/config.ru does not exist")
    end

    it "activates no gem before the application's bundle does" do
      serving(app("1"), { "config/setup_load_paths.rb" => <<~RUBY })
        File.write(#{File.join(@dir, "loaded").inspect}, Gem.loaded_specs.keys.join(" "))
        require "bundler"
      RUBY
      prelude = IO.popen([OUTSIDE_BUNDLE, RbConfig.ruby, "-e", "puts Gem.loaded_specs.keys"], &:read).split
      expect(File.read(File.join(@dir, "loaded")).split - prelude).to eq([])
    end

    it "sets up the bundle of the application" do
      serving(app('[defined?(Bundler) && Bundler.default_gemfile.to_s, Gem.loaded_specs.key?("rack")].inspect'),
              { "Gemfile" => "gem 'rack'\n" })
      expect(@engine.get("/")).to eq("[\"#{File.realpath(@dir)}/Gemfile\", true]")
    end

    it "gives the environment that applications expect" do
      names = %w[RAILS_ENV RACK_ENV PASSENGER_APP_ENV IN_PASSENGER SERVER_SOFTWARE PWD]
      serving(app("ENV.values_at(#{names.map(&:inspect).join(", ")}).inspect"), environment: "staging")
      expect(@engine.get("/")).to eq(["staging", "staging", "staging", "1", "Phusion_Passenger/7.0.0", @dir].inspect)
    end

    it "keeps the logical path of a deployment" do
      Dir.mkdir(release = File.join(@dir, "release"))
      File.symlink(release, current = File.join(@dir, "current"))
      @dir = current
      serving(app("ENV['PWD']"))
      expect(@engine.get("/")).to eq(current)
    end

    it "does not wait for standard input" do
      reader, writer = IO.pipe
      engine("$got = $stdin.read\n#{app("$got.inspect")}").start(input: reader)
      expect(@engine.heard.first).to eq("loaded")
    ensure
      [reader, writer].each(&:close)
    end

    it "tells the application how it is served, without secrets" do
      serving(app("PhusionPassenger::App.options.map { |key, value| \"\#{key}=\#{value}\" }.join(\"\\n\")"))
      options = @engine.get("/").lines(chomp: true).to_h { |line| line.split("=", 2) }
      expect(options).to include(
        "app_root" => @dir, "app_env" => "production", "app_type" => "rack", "base_uri" => "/", "spawn_method" => "smart",
        "startup_file" => "#{@dir}/config.ru", "process_title" => "Passenger RubyApp", "passenger_root" => StandInEngine::ROOT,
        "ruby_libdir" => "#{StandInEngine::ROOT}/lib", "passenger_version" => "7.0.0", "integration_mode" => "standalone"
      )
      expect(options.keys.grep(/key|password|secret/)).to eq([])
    end

    it "has PhusionPassenger in the application, whether it requires the gem or not" do
      serving(<<~RUBY)
        require #{File.join(StandInEngine::ROOT, "lib/phusion_passenger.rb").inspect}
        PhusionPassenger.advertised_concurrency_level = 3
        PhusionPassenger.install_framework_extensions!
        run ->(env) { [200, {}, [[PhusionPassenger::VERSION_STRING, PhusionPassenger.advertised_concurrency_level,
                                  PhusionPassenger::App.options["app_root"], PhusionPassenger::App.app.class].inspect]] }
      RUBY
      expect(@engine.get("/")).to match(/\A\["\d+\.\d+\.\d+", 3, "#{@dir}", Proc\]\z/)
    end
  end

  describe "events" do
    it "happen in the documented order" do
      names = %i[starting_worker_process credentials after_installing_signal_handlers starting_request_handler_thread stopping_worker_process]
      serving(<<~RUBY, threads: 2)
        #{names.reverse.inspect}.each { |name| PhusionPassenger.on_event(name) { |*given| warn("EVENT \#{name} \#{given}") } }
        at_exit { warn("EVENT at_exit \#{$0 == __FILE__}") }
        #{app("1")}
      RUBY
      @engine.end_queue
      expect(@engine.heard.first).to eq("exited")
      expect(@engine.output.scan(/^EVENT .*/)).to eq(
        ["EVENT starting_worker_process [true]", "EVENT credentials []", "EVENT after_installing_signal_handlers []",
         "EVENT starting_request_handler_thread []", "EVENT starting_request_handler_thread []",
         "EVENT stopping_worker_process []", "EVENT at_exit false"]
      )
    end

    it "with unknown names are errors" do
      engine("PhusionPassenger.on_event(:starting_worker) { }").start
      expect(@engine.heard.last).to include("class" => "ArgumentError", "message" => /unknown event :starting_worker/)
    end

    {
      "a worker that can't start" => ["PhusionPassenger.on_event(:starting_worker_process) { raise 'unhandled' }", nil],
      "a thread that can't serve" => ["PhusionPassenger.on_event(:starting_request_handler_thread) { raise 'unhandled' }", nil],
      "the main thread" => ["", "Thread.main.raise('unhandled')"]
    }.each do |where, (code, request)|
      it "tell of the exception that ends #{where}" do
        engine(<<~RUBY).start
          PhusionPassenger.on_event(:unhandled_exception_before_exit) { |error| warn("TOLD \#{error.message}"); raise "not again" }
          #{code}
          #{app(request || "1")}
        RUBY
        @engine.heard
        @engine.worker(1, wait: false)
        expect(@engine.heard.first).to eq("spawned")
        @engine.request("/") if request
        expect(@engine.heard.last).to include("status" => "exit 1")
        expect(@engine.output.scan(/^TOLD.*/)).to eq(["TOLD unhandled"])
        expect(@engine.output).to include("an event handler for :unhandled_exception_before_exit failed", "not again")
      end
    end

    it "that fail while a worker starts end it and tell why" do
      engine("PhusionPassenger.on_event(:starting_worker_process) { raise 'not today' }\n#{app("1")}").start
      @engine.heard
      @engine.worker(1, wait: false)
      expect(@engine.heard(@engine.worker_control).last).to include("message" => "not today")
      expect(@engine.heard.first).to eq("spawned")
      expect(@engine.heard.last).to include("status" => "exit 1")
    end
  end

  describe "signals" do
    it "TERM lets a worker finish its request" do
      serving("run ->(env) { warn 'BEGUN'; sleep 0.3; [200, {}, ['finished']] }")
      @engine.request("/")
      @engine.written(/BEGUN/)
      Process.kill("TERM", @engine.worker_pid)
      expect(@engine.frame).to match([:complete, /finished\z/])
      expect(@engine.heard.last).to include("status" => "exit 0")
    end

    it "INT and HUP, which reach whole process groups, end nothing" do
      serving(app("1"))
      [@engine.worker_pid, @engine.pid].product(%w[INT HUP]).each { |pid, name| Process.kill(name, pid) }
      expect(@engine.get("/")).to eq("1")
      @engine.worker(2)
    end

    it "have no handlers left from loading the application" do
      serving(<<~RUBY)
        %w[TERM USR1 USR2 QUIT].each { |name| trap(name) { warn("TRAPPED \#{name}") } }
        PhusionPassenger.on_event(:after_installing_signal_handlers) { trap("USR2") { warn("WANTED") } }
        #{app("1")}
      RUBY
      Process.kill("USR2", @engine.worker_pid)
      expect(@engine.written(/WANTED/)).not_to include("TRAPPED")
      Process.kill("USR1", @engine.worker_pid)
      expect(@engine.heard.last).to include("status" => "signal 10")
    end

    it "QUIT prints where the threads are" do
      serving("def stuck_here = sleep\nrun ->(env) { warn 'BEGUN'; stuck_here }")
      @engine.request("/")
      @engine.written(/BEGUN/)
      Process.kill("QUIT", @engine.worker_pid)
      expect(@engine.written(/stuck_here/)).to include("backtraces of all threads", "passenger slot")
    end
  end

  describe "leaving" do
    it "finishes what was begun after stop, and takes nothing more" do
      serving("run ->(env) { warn 'BEGUN'; sleep 0.3; [200, {}, ['finished']] }", threads: 2)
      @engine.request("/")
      @engine.written(/BEGUN/)
      @engine.worker_control.post("stop")
      expect(@engine.frame).to match([:complete, /finished\z/])
      expect(@engine.heard.last).to include("status" => "exit 0")
    end

    it "happens when the application exits in a request, after an answer" do
      serving("run ->(env) { exit(2) }")
      @engine.request("/")
      expect(@engine.frame.first).to eq(:failed)
      expect(@engine.heard.last).to include("status" => "exit 0")
      expect(@engine.output).to include("the worker leaves")
    end

    it "does not happen when a request kills its thread" do
      serving("run ->(env) { env['PATH_INFO'] == '/kill' ? Thread.current.kill : [200, {}, ['fine']] }")
      @engine.request("/kill")
      expect(@engine.frame.first).to eq(:failed)
      expect(@engine.get("/")).to eq("fine")
    end

    it "is a matter of a second when the engine dies, whatever the application is doing" do
      serving("run ->(env) { warn 'BEGUN'; loop { sleep } }")
      @engine.request("/")
      @engine.written(/BEGUN/)
      pids = [@engine.pid, @engine.worker_pid]
      @engine.die
      @engine.status
      expect(seconds_until_gone(*pids)).to be < 1.2
    end

    it "is a matter of a second even when a C extension holds Ruby's lock" do
      serving(<<~RUBY)
        require "fiddle"
        SLEEP = Fiddle::Function.new(Fiddle.dlopen(nil)["sleep"], [Fiddle::TYPE_INT], Fiddle::TYPE_INT, need_gvl: true)
        run ->(env) { warn "BEGUN"; SLEEP.call(30) }
      RUBY
      @engine.request("/")
      @engine.written(/BEGUN/)
      pid = @engine.worker_pid
      @engine.die
      expect(seconds_until_gone(pid)).to be_between(0.5, 1.5)
    end

    it "happens while the application is still loading" do
      engine("warn 'LOADING'; sleep").start
      @engine.written(/LOADING/)
      @engine.die
      @engine.status
      expect(seconds_until_gone(@engine.pid)).to be < 1.5
    end
  end

  it "keeps its sockets from processes that the application forks" do
    serving(<<~RUBY)
      run ->(env) {
        case env["PATH_INFO"]
        when "/stay" then [200, {}, [fork { sleep 20 }.to_s]]
        when "/answer" then fork ? [200, {}, ["parent"]] : [200, {}, ["child"]]
        end
      }
    RUBY
    child = Integer(@engine.get("/stay"))
    # The child closes them before its fork returns, which may be after that of its parent.
    Timeout.timeout(5) { sleep(0.005) until sockets_of(child).empty? }
    expect(@engine.get("/answer")).to eq("parent")
    expect(@engine.get("/answer")).to eq("parent")
  ensure
    Process.kill("KILL", child) if child
  end

  describe "from an application that is loaded already" do
    # As the Rack handler does it: the application object exists, the preloader is forked from its process.
    def forked(code, environment: "development")
      @engine = StandInEngine.new(@dir, { "config.ru" => "raise 'must not be loaded again'" }, environment: environment)
      script = <<~RUBY
        require "stringio"
        require #{File.join(StandInEngine::ROOT, "lib/phusion_passenger.rb").inspect}
        at_exit { warn("INHERITED at_exit") if Process.pid != PARENT }
        PARENT = Process.pid
        trap("TERM") { warn("INHERITED trap") }
        #{code}
        require #{File.join(StandInEngine::ROOT, "phusion_passenger/preloader.rb").inspect}
        pid = fork { PhusionPassenger::Preloader.run_with_app(APP, 3) }
        Process.wait(pid)
        warn("PRELOADER \#{$?.exitstatus}")
      RUBY
      @engine.start do |peer|
        Process.spawn(RbConfig.ruby, "-e", script, 3 => peer, out: [@engine.log.path, "a"], err: [@engine.log.path, "a"])
      end
      expect(@engine.heard.first).to eq("loaded")
      @engine.worker
    end

    it "serves that object" do
      forked('require "rack"; APP = ->(env) { [200, {}, ["mine in #{ENV["IN_PASSENGER"]} #{Process.ppid == PARENT}"]] }')
      expect(@engine.get("/")).to eq("mine in 1 false")
    end

    it "shows at once what it prints, though standard output is no terminal" do
      forked(<<~RUBY)
        require "rack"
        $stdout.sync = false
        APP = ->(env) { STDOUT.print("printed"); [200, {}, ["done"]] }
        $stdout = StringIO.new # an application may have put something else in its place
      RUBY
      expect(@engine.get("/")).to eq("done")
      expect(@engine.output).to include("printed")
    end

    it "fires events that were subscribed to before the fork" do
      forked(<<~RUBY)
        require "rack"
        PhusionPassenger.on_event(:starting_worker_process) { |forked| warn("EARLY \#{forked}") }
        APP = ->(env) { [200, {}, []] }
      RUBY
      @engine.written(/^EARLY true$/)
    end

    it "runs the exit handlers of the worker, not those of the process it comes from" do
      forked(<<~RUBY)
        require "rack"
        PhusionPassenger.on_event(:starting_worker_process) do
          at_exit { warn("OWN at_exit") }
          $file = File.open(#{File.join(@dir, "buffered").inspect}, "w")
          $file.write("not lost")
        end
        APP = ->(env) { [200, {}, []] }
      RUBY
      Process.kill("TERM", @engine.worker_pid)
      expect(@engine.heard.last).to include("status" => "exit 0")
      @engine.control.close
      @engine.written(/PRELOADER 0/)
      expect(@engine.output).to include("OWN at_exit")
      expect(@engine.output).not_to include("INHERITED")
      expect(File.read(File.join(@dir, "buffered"))).to eq("not lost")
      @engine.status
    ensure
      @engine = nil
    end
  end
end
