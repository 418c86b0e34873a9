# frozen_string_literal: true

RSpec.describe "the admin interface" do
  def start(registry = nil, app: "control", **options)
    environment = registry ? { "PASSENGER_INSTANCE_REGISTRY_DIR" => registry } : {}
    start_server(Harness::Apps.directory(app), environment: environment, **options)
  end

  def new_registry
    Harness::Suite.new_directory("registry")
  end

  def expect_empty(registry)
    expect(Dir.children(registry)).to eq([])
  end

  describe "of a server that runs" do
    serve("control", max_pool_size: 2, min_instances: 2)

    before { eventually("two workers") { admin.status["workers"].count { |worker| worker["state"] == "ready" } == 2 } }

    it "is found by a directory that says whose it is" do
      expect(Dir.children(server.registry)).to match([/\Apassenger\.[A-Za-z0-9]{7}\z/])
      expect(File.stat(admin.directory).mode & 0o7777).to eq(0o755)
      expect(File.stat("#{admin.directory}/agents.s/core_api").mode & 0o7777).to eq(0o666)
      expect(File.read("#{admin.directory}/core.pid").to_i).to eq(server.pid)
      expect(admin.properties).to include(
        "integration_mode" => "standalone", "standalone_engine" => "builtin", "core_pid" => server.pid, "watchdog_pid" => server.pid,
        "name" => File.basename(admin.directory).delete_prefix("passenger."), "server_software" => %r{\APhusion_Passenger/\d},
        "instance_dir" => a_hash_including("path" => admin.directory, "major_version" => 4)
      )
    end

    it "shows by a lock that the server lives" do
      File.open("#{admin.directory}/lock") { |lock| expect(lock.flock(File::LOCK_EX | File::LOCK_NB)).to be(false) }
      File.open(admin.directory) { |directory| expect(directory.flock(File::LOCK_SH | File::LOCK_NB)).to be(false) }
    end

    it "says what the server is and does" do
      expect(admin.status).to include(
        "version" => /\A\d+\.\d+\.\d+/, "pid" => server.pid, "uptime" => a_kind_of(Integer), "started_at" => /\A\d{4}-\d\d-\d\dT.*Z\z/,
        "url" => "http://127.0.0.1:#{server.port}/", "environment" => "development", "app_root" => server.directory,
        "state" => "serving", "boots" => 1, "generation" => a_hash_including("number" => 1, "state" => "serving"),
        "generations" => [a_hash_including("number" => 1, "state" => "serving")], "queue" => a_hash_including("waiting" => 0, "limit" => 100),
        "pool" => a_hash_including("size" => 2, "min" => 2, "max" => 2, "target" => 2, "ready" => 2, "crash_loop" => false),
        "restart" => { "active" => false, "method" => "", "count" => 0, "last_at" => nil }, "boot_error" => nil
      )
      expect(admin.status["workers"].map { |worker| worker["pid"] }).to match_array(server.workers)
    end

    it "counts requests while they run and when they have ended" do
      before = admin.status
      gate = new_gate
      clients = Array.new(2) { hold(gate) }
      wait_until_entered(gate, 2)
      waiting = hold(gate)
      expect(admin.status["workers"]).to all(include("slots" => 1, "working" => 1))
      expect(admin.status["state"]).to eq("serving")
      open_gate(gate)
      [*clients, waiting].each { |client| expect(client.read_response.status).to eq(200) }
      finished = ->(status) { status["workers"].sum { |worker| worker["requests"] } }
      eventually("count of three requests") { finished.call(admin.status) - finished.call(before) == 3 }
      expect(admin.status["requests"] - before["requests"]).to eq(3)
      expect(admin.status["workers"]).to all(include("working" => 0))
    ensure
      [*clients, waiting].compact.each(&:close)
    end

    it "refuses what it does not know, and says what it knows" do
      admin.connect do |client|
        expect(client.get("/ping").json).to eq("status" => "ok")
        expect(client.get("/nonsense")).to have_attributes(status: 404, json: { "status" => "error", "message" => %r{/nonsense.*/ping} })
        response = client.post("/status", "")
        expect(response).to have_attributes(status: 405, json: a_hash_including("status" => "error"))
        expect(response["allow"]).to eq("GET, HEAD")
        expect(client.post("/cache/purge", '{"everything":true}')).to have_attributes(status: 400, body: /everything/)
        expect(client.post("/cache/purge", '{"all":true}').json).to include("status" => "ok", "purged" => a_kind_of(Integer))
      end
    end

    it "does not serve users who are neither root nor the server's" do
      skip "needs root" unless Process.uid.zero?
      File.open("#{admin.directory}/agents.s") do |agents|
        socket = "/proc/self/fd/#{agents.fileno}/core_api"
        reader, writer = IO.pipe
        child = fork do
          Process::Sys.setresuid(65_534, 65_534, 65_534)
          response = Harness::HTTPClient.open(socket) { |client| client.get("/status") }
          writer.write("#{response.status} #{response.body}")
        ensure
          exit!(0)
        end
        writer.close
        expect(reader.read).to match(/\A403 .*65534 may not/)
        Process.wait(child)
      end
    end
  end

  it "shows a restart: the new generation beside the old one" do
    server = start(max_pool_size: 1)
    gate = new_gate
    client = hold(gate, server: server)
    wait_until_entered(gate, server: server)
    FileUtils.touch(File.join(server.directory, "tmp", "restart.txt"))
    eventually("the second generation") { admin(server).status["generation"].values_at("number", "state") == [2, "serving"] }
    status = admin(server).status
    expect(status["generations"].map { |generation| generation.values_at("number", "state") }).to eq([[1, "draining"], [2, "serving"]])
    expect(status["workers"].map { |worker| worker.slice("generation", "state", "working") })
      .to eq([{ "generation" => 1, "state" => "leaving", "working" => 1 }, { "generation" => 2, "state" => "ready", "working" => 0 }])
    expect(status["boots"]).to eq(2)
    open_gate(gate, server: server)
    expect(client.read_response.status).to eq(200)
    eventually("end of the first generation") { admin(server).status["generations"].size == 1 }
    server.stop
  ensure
    client&.close
  end

  it "shows why the application does not start, and no longer when it does" do
    directory = Harness::Apps.directory("broken", "config.ru" => "raise ArgumentError, 'out of order'\n")
    server = start_server(directory, friendly_error_pages: true)
    eventually("the failure") { admin(server).status["state"] == "failed" }
    status = admin(server).status
    expect(status["boot_error"]).to match("id" => /\A\h{8}\z/, "class" => "ArgumentError", "message" => /out of order/, "at" => /\A\d{4}-.*Z\z/)
    expect(server.said).to include(status["boot_error"]["id"])
    expect(status).to include("workers" => [], "generation" => nil)
    Harness::Apps.write(directory, "config.ru", "run ->(_) { [200, {}, ['mended']] }\n")
    eventually("an application that starts") { server.get("/").body == "mended" }
    expect(admin(server).status).to include("state" => "serving", "boot_error" => nil)
    server.stop
  end

  it "answers while the server stops, until the last request has ended, and is gone with it" do
    registry = new_registry
    server = start(registry, max_pool_size: 1)
    gate = new_gate
    client = hold(gate, server: server)
    wait_until_entered(gate, server: server)
    server.signal(:TERM)
    eventually("end of the listening") { !server.reachable? }
    expect(admin(server).status["workers"]).to match([a_hash_including("working" => 1)])
    open_gate(gate, server: server)
    expect(client.read_response.status).to eq(200)
    expect(server.wait.exitstatus).to eq(0)
    expect_empty(registry)
  ensure
    client&.close
  end

  it "of two servers in one registry are two" do
    registry = new_registry
    servers = Array.new(2) { start(registry).tap { |server| admin(server) } }
    expect(Harness::Admin.all(registry).map { |admin| admin.status["pid"] }).to match_array(servers.map(&:pid))
    servers.first.stop
    expect(Harness::Admin.all(registry).map { |admin| admin.status["pid"] }).to eq([servers.last.pid])
    servers.last.stop
    expect_empty(registry)
  end

  it "of a server that was killed is removed by the next one" do
    registry = new_registry
    living = start(registry)
    killed = start(registry)
    [living, killed].each { |server| admin(server) }
    killed.signal(:KILL)
    killed.wait
    expect(Harness::Admin.all(registry).size).to eq(2)
    successor = start(registry)
    admin(successor)
    expect(Harness::Admin.all(registry).map { |admin| admin.properties["core_pid"] }).to match_array([living.pid, successor.pid])
    [living, successor].each(&:stop)
    expect_empty(registry)
  end

  it "works below a path that is too long for the address of a socket" do
    registry = File.join(new_registry, "long" * 30)
    Dir.mkdir(registry)
    server = start(registry)
    expect(admin(server).get("/ping").status).to eq(200)
    server.stop
    expect_empty(registry)
  end

  it "is not started in a directory that is missing, and the error says what to do" do
    registry = File.join(new_registry, "missing")
    directory = Harness::Apps.directory("control")
    argv = Harness::PassengerServer.command("start", "--address", "127.0.0.1", "--port", Harness::Server.free_port)
    result = run_command(argv, directory: directory, environment: { "PASSENGER_INSTANCE_REGISTRY_DIR" => registry })
    expect(result).to be_one_line_error.naming("instance_registry_dir").naming(registry).naming("create it")
  end
end
