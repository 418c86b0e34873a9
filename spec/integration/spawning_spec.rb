# frozen_string_literal: true

# How application processes come to be, and what happens when that goes wrong.
RSpec.describe "spawning" do
  include Harness::Pool

  def start(files = {}, **options)
    start_server(pool_app(files), **options)
  end

  describe "by the smart method" do
    serve "pool", max_pool_size: 3, min_instances: 3

    before { ready_workers(3) }

    it "loads the application once, and forks the workers from the process that has loaded it" do
      facts = facts_of_all(3)
      preloader = server.preloader
      expect(facts.map { |fact| fact["pid"] }).to match_array(server.workers)
      expect(facts.map { |fact| fact["loading"] }.uniq.size).to eq(1)
      expect(facts.map { |fact| fact["loaded_by"] }).to all(eq(preloader))
      expect(facts.map { |fact| fact["ppid"] }).to all(eq(preloader))
      expect(boots).to eq([preloader])
      expect(admin.status["generation"]).to include("number" => 1, "preloader" => preloader)
    end

    it "tells the application that its processes were forked" do
      expect(events("starting")).to match_array(server.workers.map { |pid| ["starting", pid.to_s, "true"] })
    end
  end

  describe "by the direct method" do
    serve "pool", spawn_method: "direct", max_pool_size: 2, min_instances: 2

    before { ready_workers(2) }

    it "loads the application in each worker, and there is no preloader" do
      facts = facts_of_all(2)
      expect(facts.map { |fact| fact["pid"] }).to match_array(server.workers)
      expect(facts.map { |fact| fact["loaded_by"] }).to eq(facts.map { |fact| fact["pid"] })
      expect(facts.map { |fact| fact["loading"] }.uniq.size).to eq(2)
      expect(facts.map { |fact| fact["ppid"] }).to all(eq(server.pid))
      expect(boots).to include(*server.workers)
      expect(server.processes).to match_array(server.workers)
      expect(admin.status["generation"]).to include("preloader" => 0)
    end

    it "tells the application that its processes were not forked" do
      expect(events("starting").map(&:last).uniq).to eq(["false"])
      expect(events("starting").map { |_, pid, _| pid.to_i }).to include(*server.workers)
    end

    it "replaces a worker that dies" do
      victim, survivor = server.workers
      loadings = boots.size
      kill(victim)
      workers = ready_workers(2)
      expect(workers).to include(survivor)
      expect(workers).not_to include(victim)
      expect(boots.size).to eq(loadings + 1)
      expect(Array.new(10) { server.get("/pid").status }).to all(eq(200))
      expect_no_zombies
    end

    it "restarts with new code and ends the old processes" do
      old = server.workers
      Harness::Apps.write(server.directory, "version", "after the restart")
      touch_restart_file
      eventually("the new code") { server.get("/version").body == "after the restart" }
      eventually("end of the old processes") { old.none? { |pid| Harness::ProcFS.alive?(pid) } }
      expect(ready_workers(2) & old).to eq([])
      expect(events("stopping").map { |_, pid| pid.to_i }).to include(*old)
      expect_no_zombies
    end
  end

  describe "of an application that can't be loaded, by the direct method," do
    serve "pool", spawn_method: "direct", max_pool_size: 1, start_timeout: 2, resist_deployment_errors: false

    before { ready_workers(1) }

    def restart_with(boot_code)
      Harness::Apps.write(server.directory, "boot.rb", boot_code)
      admin.post("/restart", "")
    end

    {
      "raises" => ["raise ArgumentError, 'the direct reason'", /ArgumentError.*the direct reason/m],
      "exits" => ["exit 3", /exit/i],
      "aborts" => ["abort 'it gave up'", /exit|it gave up/i],
      "kills its process" => ["Process.kill(:KILL, Process.pid); sleep", /signal 9|KILL/i],
      "hangs" => ["sleep", /start_timeout/],
      "raises in :starting_worker_process" => ["PhusionPassenger.on_event(:starting_worker_process) { raise 'not this worker' }",
                                               /not this worker/]
    }.each do |what, (code, page)|
      it "shows the error when it #{what}, and serves when that is mended" do
        restart_with(code)
        eventually("the failure") { admin.status["state"] == "failed" }
        failed = boots.last
        response = server.get("/")
        restart_with("")
        eventually("the mended application") { server.get("/pid").status == 200 }
        expect(admin.status["boot_error"]).to be_nil
        expect_no_zombies
        expect(Harness::ProcFS.alive?(failed)).to be(false)
        expect(response).to have_attributes(status: 500, body: page)
      end
    end
  end

  describe "from a preloader that is lost" do
    it "while it loads is tried again" do
      server = start({ "boot.rb" => "sleep 0.01 until File.exist?(File.join(__dir__, 'go'))" }, max_pool_size: 1)
      first = eventually("the preloader") { boots(server: server).first }
      waiting = server.connect.tap { |client| client.request("GET", "/pid") }
      kill(first)
      expect(waiting.read_response).to have_attributes(status: 500, body: /signal 9|KILL/)
      expect(admin(server).status["boot_error"]).to include("class" => "PreloaderDied")
      Harness::Apps.write(server.directory, "go", "")
      eventually("the application") { server.get("/pid").status == 200 }
      expect(admin(server).status["boot_error"]).to be_nil
      expect_no_zombies(server: server)
      server.stop
    ensure
      waiting&.close
    end

    it "while it serves leaves the workers to the server, which reaps them, and whose end is theirs" do
      server = start(max_pool_size: 3, min_instances: 3)
      workers = ready_workers(3, server: server)
      kill(server.preloader)
      eventually("adoption of the workers") { workers.map { |pid| Harness::ProcFS.parent(pid) }.uniq == [server.pid] }
      expect(facts_of_all(3, server: server).map { |fact| fact["pid"] }).to match_array(workers)
      workers.first(2).each { |pid| kill(pid) }
      expect(ready_workers(3, server: server)).to include(workers.last)
      facts = facts_of_all(3, server: server)
      expect(facts.map { |fact| fact["ppid"] }.uniq).to contain_exactly(server.pid, server.preloader)
      expect(boots(server: server).size).to eq(2)
      expect_no_zombies(server: server)
      family = server.processes
      expect(family.size).to eq(4)
      server.signal(:KILL)
      server.wait
      eventually("end of the workers, the adopted ones, too") { family.none? { |pid| Harness::ProcFS.alive?(pid) } }
    end

    it "because it is idle is brought back when it is needed" do
      server = start(max_pool_size: 2, min_instances: 1, max_preloader_idle_time: 1)
      worker = ready_workers(1, server: server).first
      eventually("end of the idle preloader") { server.preloader.nil? && admin(server).status["generation"]["preloader"].zero? }
      expect(server.get("/pid").body).to eq(worker.to_s)
      facts = facts_of_all(2, server: server)
      expect(facts.map { |fact| fact["pid"] }).to include(worker)
      expect(boots(server: server).size).to eq(2)
      expect_no_zombies(server: server)
      server.stop
    end
  end

  describe "from a preloader that hangs" do
    serve "pool", max_pool_size: 2, min_instances: 2, start_timeout: 2,
                  files: { "boot.rb" => "sleep if File.exist?(File.join(__dir__, 'hang'))" }

    before { ready_workers(2) }

    def hang
      boots.size.tap { Harness::Apps.write(server.directory, "hang", "") }
    end

    # The next loading hangs, fails for that, and is ended. The number of loadings before it is given.
    def wait_for_failure(loadings)
      hanging = eventually("the preloader that hangs") { boots[loadings] }
      eventually("the failure in the status") { admin.status["boot_error"].to_h["class"] == "StartTimeout" }
      eventually("end of the preloader that hangs") { !Harness::ProcFS.alive?(hanging) }
    end

    it "when a worker has to be replaced keeps the others serving, and the pool is whole again when it no longer hangs" do
      loadings = hang
      kill(server.preloader)
      survivor, victim = server.workers
      kill(victim)
      wait_for_failure(loadings)
      expect(Array.new(5) { server.get("/pid").body }).to all(eq(survivor.to_s))
      File.delete(File.join(server.directory, "hang"))
      expect(ready_workers(2)).to include(survivor)
      expect(admin.status["boot_error"]).to be_nil
      expect_no_zombies
    end

    it "at a restart keeps the old processes serving, and the next restart brings the new code" do
      old = server.workers
      loadings = hang
      Harness::Apps.write(server.directory, "version", "second")
      touch_restart_file
      wait_for_failure(loadings)
      expect(facts_of_all(2).map { |fact| fact["pid"] }).to match_array(old)
      File.delete(File.join(server.directory, "hang"))
      touch_restart_file
      eventually("the new code") { server.get("/version").body == "second" }
      expect(admin.status["boot_error"]).to be_nil
      expect_no_zombies
    end
  end

  describe "of an application that while it is loaded" do
    serve "pool", max_pool_size: 2, min_instances: 2, files: { "boot.rb" => <<~RUBY }
      $stdout.puts "said on standard output while loading"
      $stderr.puts "said on standard error while loading"
      PoolApp::INPUT = $stdin.read
      PoolApp.note("input \#{PoolApp::INPUT.inspect}")
      Thread.new { sleep }.name = "metrics-flusher"
      Thread.new { sleep }.name = "cache-warmer"
    RUBY

    before { ready_workers(2) }

    it "prints has that in the log" do
      %w[output error].each { |stream| expect(server.log).to include("said on standard #{stream} while loading") }
    end

    it "reads standard input gets its end" do
      expect(events("input")).to eq([["input", '""']])
    end

    it "starts threads is warned that workers don't have them, by name and once" do
      expect(facts_of_all(2).flat_map { |fact| fact["threads"] } & %w[metrics-flusher cache-warmer]).to eq([])
      lines = server.log.lines.grep(/metrics-flusher|cache-warmer/)
      expect(lines).to match([a_string_including("metrics-flusher", "cache-warmer")])
      expect(lines.first).to match(/thread/).and include("starting_worker_process")
    end

    it "starts threads does not disturb the order in which its processes end" do
      victim = server.workers.first
      kill(victim, :TERM)
      ready_workers(2)
      expect(events("stopping")).to include(["stopping", victim.to_s])
      expect_no_zombies
    end
  end

  describe "of a worker whose :starting_worker_process raises" do
    serve "pool", max_pool_size: 2, min_instances: 2, files: { "boot.rb" => <<~RUBY }
      PhusionPassenger.on_event(:starting_worker_process) do
        raise "no database for this worker" if File.exist?(File.join(PoolApp::DIRECTORY, "refuse"))
      end
    RUBY

    before { ready_workers(2) }

    def refuse
      before = admin.status["boot_error"].to_h["id"]
      Harness::Apps.write(server.directory, "refuse", "")
      yield
      failure = eventually("the failure in the status") { admin.status["boot_error"].then { |error| error if error && error["id"] != before } }
      expect(failure["message"]).to include("no database for this worker")
      eventually("the end of a restart") { admin.status.then { |status| status["generations"].size == 1 && !status["restart"]["active"] } }
      expect(server.log).to include("no database for this worker")
    ensure
      File.delete(File.join(server.directory, "refuse"))
    end

    it "fails alone: the others serve on, and it is tried again" do
      victim, survivor = server.workers
      loadings = boots.size
      refuse { kill(victim) }
      expect(server.get("/pid").status).to eq(200)
      expect(ready_workers(2)).to include(survivor)
      expect(admin.status["boot_error"]).to be_nil
      expect(boots.size).to eq(loadings)
      expect_no_zombies
    end

    it "is an error at a restart, and the old processes serve on" do
      old = server.workers
      refuse { touch_restart_file }
      expect(facts_of_all(2).map { |fact| fact["pid"] }).to match_array(old)
      expect_no_zombies
    end
  end
end
