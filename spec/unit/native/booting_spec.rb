# frozen_string_literal: true

require_relative "stand_in_engine"

# Things that applications do while they are loaded, and that are better not done.
RSpec.describe "An application that is loaded" do
  include_context "with application processes"

  def loaded(config, **options)
    engine(config, **options).start
    verb, fields = @engine.heard
    raise "not loaded: #{verb} #{fields}\n#{@engine.output}" unless verb == "loaded"

    fields
  end

  describe "and starts threads" do
    it "is told so by their names, and so is the engine" do
      fields = loaded(<<~RUBY)
        Thread.new { sleep }.name = "metrics reporter"
        Thread.new { sleep }
        Thread.new { }.join
        #{app("Thread.list.size")}
      RUBY
      expect(fields["threads"].split("\n")).to contain_exactly("metrics reporter", "(Thread #{@dir}/config.ru:2)")
      warning = @engine.output
      expect(warning).to include("has started 2 threads while it was loaded", "\"metrics reporter\" (Thread #{@dir}/config.ru:1)",
                                 "(Thread #{@dir}/config.ru:2)", ":starting_worker_process", "spawn_method direct")
      expect(warning.lines.size).to eq(1)
    end

    it "is told nothing about threads of Ruby, of ours, and of libraries that say they can cope" do
      fields = loaded(<<~RUBY)
        require "timeout"
        Timeout.timeout(1000) { }
        Process.detach(spawn("sleep 1"))
        Thread.new { Thread.current.thread_variable_set(:fork_safe, true); sleep }
        Thread.pass until Thread.list.any? { |thread| thread.thread_variable_get(:fork_safe) }
        #{app("1")}
      RUBY
      expect(fields).not_to include("threads")
      expect(@engine.output).to eq("")
    end

    it "does not get a message that is too long, however many they are" do
      fields = loaded("500.times { |n| Thread.new { sleep }.name = \"x\" * 500 + n.to_s }\n#{app("1")}")
      expect(fields["threads"].split("\n").map(&:size)).to eq([200] * 20)
    end
  end

  describe "and advertises a concurrency level" do
    it "has it passed on" do
      expect(loaded("PhusionPassenger.advertised_concurrency_level = 12\n#{app("1")}")).to include("concurrency" => "12")
    end

    it "has none passed on if it does not" do
      expect(loaded(app("1"))).not_to include("concurrency")
    end

    it "has none passed on if it says that any number will do" do
      expect(loaded("PhusionPassenger.advertised_concurrency_level = 0\n#{app("1")}")).not_to include("concurrency")
      expect(@engine.output).not_to include("ignored")
    end

    [-1, "many", 2.5].each do |level|
      it "is told that #{level.inspect} is none" do
        expect(loaded("PhusionPassenger.advertised_concurrency_level = #{level.inspect}\n#{app("1")}")).not_to include("concurrency")
        expect(@engine.output).to include("advertised_concurrency_level was set to #{level.inspect} and is ignored", "Integer of at least 1")
      end
    end
  end

  %w[smart direct].each do |spawn_method|
    describe "(#{spawn_method})" do
      it "may print, and read standard input, which is empty" do
        serving("$stdout.puts 'OUT'; $stderr.puts 'ERR'; STDOUT.print 'raw'; $got = $stdin.read\n#{app("$got.inspect")}", spawn_method: spawn_method)
        expect(@engine.get("/")).to eq('""')
        expect(@engine.output).to eq("OUT\nERR\nraw")
      end

      { "exit" => "exit 3", "abort" => "abort 'gave up'", "exit in a thread" => "Thread.new { exit 4 }.join; sleep" }.each do |what, code|
        it "has its #{what} reported" do
          engine(code, spawn_method: spawn_method).start
          expect(@engine.heard).to match(["boot_error", hash_including("class" => "SystemExit", "message" => /called exit \(status \d\)/)])
          expect(@engine.status.exitstatus).to eq(1)
        end
      end

      it "has what it said to abort reported" do
        engine("abort 'no database'", spawn_method: spawn_method).start
        expect(@engine.heard.last["message"]).to end_with("(status 1) while it was being loaded: no database")
      end

      it "has an interruption reported" do
        engine("Process.kill('TERM', $$); sleep", spawn_method: spawn_method).start
        expect(@engine.heard.last["message"]).to include("interrupted by SIGTERM")
      end

      it "may trap signals, which changes nothing for a worker" do
        serving("%w[INT HUP TERM CHLD USR1].each { |name| trap(name) { warn 'TRAPPED' } }\n#{app("'on'")}", spawn_method: spawn_method)
        %w[INT HUP].each { |name| Process.kill(name, @engine.worker_pid) }
        Process.kill("INT", @engine.pid)
        expect(@engine.get("/")).to eq("on")
        Process.kill("TERM", @engine.worker_pid)
        seconds_until_gone(@engine.worker_pid) if spawn_method == "direct"
        expect(@engine.heard.last).to include("status" => "exit 0") if spawn_method == "smart"
        expect(@engine.output).not_to include("TRAPPED")
      end

      it "may leave a process in the background, which gets none of its sockets" do
        serving("$child = fork { sleep 20 }\nProcess.detach($child)\n#{app("$child")}", spawn_method: spawn_method)
        child = Integer(@engine.get("/"))
        expect(sockets_of(child)).to eq([])
        expect(Dir.children("/proc/#{child}/fd").map { |fd| File.readlink("/proc/#{child}/fd/#{fd}") }).not_to include(@engine.board_name)
      ensure
        Process.kill("KILL", child) if child
      end

      it "may fork a child that ends in the middle of loading; that is no failed boot" do
        serving("Process.wait(fork || exit(7))\n$seen = $?.exitstatus\n#{app("$seen")}", spawn_method: spawn_method)
        expect(@engine.get("/")).to eq("7")
      end

      it "may fork a child that fails in the middle of loading; that is no failed boot" do
        serving("pid = fork or raise('only the child')\nProcess.wait(pid)\n#{app("'on'")}", spawn_method: spawn_method)
        expect(@engine.get("/")).to eq("on")
      end

      it "can't put itself into the background, and is told so" do
        engine("Process.daemon(true, true)\n#{app("1")}", spawn_method: spawn_method).start
        expect(@engine.heard).to be_nil
        expect(@engine.status.exitstatus).to eq(0)
        said = @engine.written(/has put itself into the background.*--daemonize/)
        daemon = said[/process #{@engine.pid} has become (\d+)/, 1]
        expect(seconds_until_gone(Integer(daemon))).to be < 5
      end
    end
  end
end
