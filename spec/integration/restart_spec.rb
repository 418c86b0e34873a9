# frozen_string_literal: true

RSpec.describe "tmp/restart.txt" do
  def application(version)
    Harness::Apps.directory("control", "version" => version)
  end

  def change_to(version, server)
    File.write(File.join(server.directory, "version"), version)
    touch(File.join(server.directory, "tmp", "restart.txt"))
  end

  # Two changes within one tick of the file system's clock would look the same.
  def touch(path)
    @time = (@time || Time.now) + 1
    FileUtils.touch(path, mtime: @time)
  end

  it "switches to the new code under load without losing a request" do
    server = start_server(application("first"), max_pool_size: 2, min_instances: 2)
    eventually("two workers") { server.workers.size == 2 }
    old = server.processes
    outcomes = Harness::Load.during(server, "/version") do |load|
      load.wait_for(200)
      %w[second third].each do |version|
        change_to(version, server)
        eventually("the #{version} version") { server.get("/version").body == version }
        load.wait_for(200)
      end
      eventually("end of the old processes") { (server.processes & old).empty? }
    end
    expect(outcomes.map(&:kind).tally.keys).to eq([200])
    expect(outcomes.map(&:detail).uniq).to eq(%w[first second third])
    server.stop
  end

  it "lets requests of the old code finish" do
    server = start_server(application("first"), max_pool_size: 1)
    gate = new_gate
    client = hold(gate, server: server)
    old = wait_until_entered(gate, server: server).first
    change_to("second", server)
    eventually("a new worker") { (server.workers - [old]).any? }
    expect(server.get("/version").body).to eq("second")
    expect(Harness::ProcFS.alive?(old)).to be(true)
    open_gate(gate, server: server)
    expect(client.read_response.body).to eq("held by #{old}")
    eventually("end of the old worker") { !Harness::ProcFS.alive?(old) }
    server.stop
  ensure
    client&.close
  end

  it "lets requests that wait for a busy worker of the old code be served by the new code" do
    server = start_server(application("first"), max_pool_size: 1)
    gate = new_gate
    client = hold(gate, server: server)
    wait_until_entered(gate, server: server)
    waiting = Array.new(5) { server.connect.tap { |one| one.request("GET", "/version") } }
    change_to("second", server)
    expect(waiting.map { |one| one.read_response.body }).to all(eq("second"))
    open_gate(gate, server: server)
    expect(client.read_response.status).to eq(200)
    server.stop
  ensure
    [client, *waiting].compact.each(&:close)
  end

  it "restarts when its time of modification changes to an older one, and not when it is removed" do
    directory = application("first")
    file = Harness::Apps.write(directory, "tmp/restart.txt", "")
    server = start_server(directory, max_pool_size: 1)
    expect(server.get("/version").body).to eq("first")
    File.write(File.join(directory, "version"), "second")
    FileUtils.touch(file, mtime: Time.now - 86_400)
    eventually("the second version") { server.get("/version").body == "second" }
    worker = server.get("/pid").body
    File.delete(file)
    File.write(File.join(directory, "version"), "third")
    # Proof that the removal has been seen and ignored: the file that comes back restarts, and nothing has before.
    pids = Array.new(20) { sleep 0.05 and server.get("/pid").body }.uniq
    expect(pids).to eq([worker])
    touch(file)
    eventually("the third version") { server.get("/version").body == "third" }
    server.stop
  end

  it "that is older than the server restarts nothing" do
    directory = application("first")
    Harness::Apps.write(directory, "tmp/restart.txt", "")
    server = start_server(directory, max_pool_size: 1)
    worker = server.get("/pid").body
    expect(Array.new(20) { sleep 0.05 and server.get("/pid").body }.uniq).to eq([worker])
    server.stop
  end

  it "may be touched again while a restart is under way" do
    server = start_server(application("0"), max_pool_size: 1)
    expect(server.get("/version").body).to eq("0")
    (1..5).each do |number|
      change_to(number.to_s, server)
      server.get("/version")
    end
    eventually("the last version") { server.get("/version").body == "5" }
    eventually("the old processes' end") { server.workers.size == 1 }
    server.stop
  end

  it "is looked for in --restart-dir" do
    directory = application("first")
    FileUtils.mkdir_p(File.join(directory, "run"))
    server = start_server(directory, max_pool_size: 1, restart_dir: "run")
    expect(server.get("/version").body).to eq("first")
    File.write(File.join(directory, "version"), "second")
    touch(File.join(directory, "run", "restart.txt"))
    eventually("the second version") { server.get("/version").body == "second" }
    server.stop
  end

  it "follows a symbolic link that has been moved to another release" do
    root = Harness::Suite.new_directory("releases")
    releases = %w[first second].map { |version| application(version) }
    current = File.join(root, "current")
    File.symlink(releases[0], current)
    server = start_server(current, max_pool_size: 1, log_file: File.join(root, "server.log"),
                                   pid_file: File.join(root, "server.pid"), restart_dir: File.join(current, "tmp"))
    expect(server.get("/version").body).to eq("first")
    File.symlink(releases[1], "#{current}.new")
    File.rename("#{current}.new", current)
    touch(File.join(current, "tmp", "restart.txt"))
    eventually("the second release") { server.get("/version").body == "second" }
    server.stop
  end
end
