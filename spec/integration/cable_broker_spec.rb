# frozen_string_literal: true

RSpec.describe "Action Cable's adapter passenger" do
  cable = Harness::Cable
  channels = %w[chat news]

  def start(processes: 4, registry: nil, directory: Harness::Cable.directory, **options)
    environment = Harness::Cable.environment(directory)
    environment["PASSENGER_INSTANCE_REGISTRY_DIR"] = registry if registry
    start_server(directory, environment: environment, max_pool_size: processes, min_instances: processes, **options)
      .tap { |server| wait_until_subscribed(server, processes) }
  end

  def received(pid, channel, server: started.first) = Harness::Cable.received(server.directory, pid, channel)

  # The processes of the pool, when each has had its subscriptions confirmed.
  def wait_until_subscribed(server, processes = 4)
    eventually(-> { "subscriptions of #{processes} processes; there are #{server.workers}" }, within: 60) do
      workers = server.workers
      workers.size == processes && workers.all? { |pid| %w[chat news].all? { |channel| received(pid, channel, server: server).include?("subscribed") } }
    end
    server.workers
  end

  def publish(server, channel, from:, count:)
    response = server.get("/publish?channel=#{channel}&from=#{from}&count=#{count}")
    expect(response.status).to eq(200)
    response.body.to_i
  end

  def wait_for(pid, channel, message, **rest)
    eventually(-> { "message #{message} in process #{pid}; the last were #{received(pid, channel, **rest).last(3)}" }) do
      received(pid, channel, **rest).last == message.to_s
    end
  end

  # A process beside the server, with the application's bundle: what a console or a rake task is.
  def run_beside(server_directory, code, registry:, **rest)
    run_command(["bundle", "exec", "ruby", "-r./cable_server", "-e", code], directory: server_directory,
                environment: { **Harness::Cable.environment(server_directory), "PASSENGER_INSTANCE_REGISTRY_DIR" => registry }, **rest)
  end

  it "brings every message to every process, in one order" do
    server = start
    workers = server.workers
    publishing = channels.product([0, 10_000, 20_000]).map do |channel, from|
      Thread.new { publish(server, channel, from: from, count: 500) }
    end
    publishers = publishing.map(&:value)
    expect(publishers.uniq.size).to be > 1
    channels.each do |channel|
      eventually("all messages of #{channel}") { workers.all? { |pid| received(pid, channel).size == 1501 } }
      lists = workers.map { |pid| received(pid, channel) }
      expect(lists.uniq.size).to eq(1)
      numbers = lists.first.drop(1).map(&:to_i)
      expect(numbers.group_by { |number| number / 10_000 }.values).to match_array([0, 10_000, 20_000].map { |from| [*from...(from + 500)] })
    end
    expect(admin(server).status["cable"]).to include("connections" => 4 + publishers.uniq.size, "channels" => 2, "subscriptions" => 8, "published" => 3000,
                                                     "delivered" => 12_000, "dropped_connections" => 0)
    server.stop
    expect(server.said).not_to match(/cable: .*(WARN|ERROR)/)
  end

  it "goes on when a process is killed, and takes in the one that comes for it" do
    server = start
    old = server.workers
    publish(server, "chat", from: 0, count: 1)
    old.each { |pid| wait_for(pid, "chat", 0) }
    Process.kill(:KILL, old.first)
    eventually("its end") { !Harness::ProcFS.alive?(old.first) }
    workers = wait_until_subscribed(server)
    publish(server, "chat", from: 1, count: 100)
    workers.each { |pid| wait_for(pid, "chat", 100) }
    (workers & old).each { |pid| expect(received(pid, "chat")).to eq(["subscribed", *(0..100).map(&:to_s)]) }
    (workers - old).each { |pid| expect(received(pid, "chat")).to eq(["subscribed", *(1..100).map(&:to_s)]) }
    eventually("end of the dead one's subscriptions") { admin(server).status["cable"]["subscriptions"] == 8 }
    server.stop
  end

  it "loses nothing while processes are replaced one after another" do
    server = start(processes: 2, rolling_restarts: true)
    old = server.workers
    number = 0
    running = true
    publisher = Thread.new do
      while running
        publish(server, "chat", from: number, count: 10)
        number += 10
      end
    end
    FileUtils.touch(File.join(server.directory, "tmp", "restart.txt"))
    eventually("new processes", within: 60) { server.workers.size == 2 && (server.workers & old).empty? }
    workers = wait_until_subscribed(server, 2)
    running = false
    publisher.join
    publish(server, "chat", from: number, count: 1)
    workers.each { |pid| wait_for(pid, "chat", number) }
    [*old, *workers].each do |pid|
      list = received(pid, "chat")
      numbers = (list - ["subscribed"]).map(&:to_i)
      expect(numbers).to eq([*numbers.first..numbers.last])
      expect(list.index("subscribed")).to be <= 1
    end
    expect(old.map { |pid| received(pid, "chat")[1] }).to all(eq("0"))
    server.stop
  end

  it "takes messages of processes beside the server" do
    registry = Harness::Suite.new_directory("registry")
    server = start(processes: 2, registry: registry)
    result = run_beside(server.directory, 'CABLE.broadcast("chat", "from a console"); puts "done"', registry: registry)
    expect(result).to have_attributes(status: be_success, out: "done\n")
    server.workers.each { |pid| wait_for(pid, "chat", '"from a console"') }
    # Many, from a process that ends right after the last
    result = run_beside(server.directory, '300.times { |number| CABLE.broadcast("news", number) }; exit!(0)', registry: registry)
    expect(result.status).to be_success
    server.workers.each { |pid| wait_for(pid, "news", 299) }
    expect(received(server.workers.first, "news")).to eq(["subscribed", *(0..299).map(&:to_s)])
    server.stop
  end

  it "disconnects a process that does not read, and takes it back when it does" do
    registry = Harness::Suite.new_directory("registry")
    server = start(processes: 2, registry: registry)
    stuck, other = server.workers
    Process.kill(:STOP, stuck)
    # More than the engine keeps for a process
    code = '25.times { |number| CABLE.broadcast("news", number.to_s.ljust(500_000, ".")) }; CABLE.broadcast("news", "end")'
    result = run_beside(server.directory, code, registry: registry, within: 60)
    expect(result.status).to be_success, result.to_s
    wait_for(other, "news", '"end"')
    numbers = received(other, "news").filter_map { |message| message[/\A"(\d+)\./, 1] }
    expect(numbers).to eq((0..24).map(&:to_s))
    expect(admin(server).status["cable"]).to include("dropped_connections" => 1)
    expect(server.log).to match(/has not read its Action Cable messages and is disconnected.*\(#{stuck}\)/)
    Process.kill(:CONT, stuck)
    eventually("its return") { server.log.include?("connected to the server again") }
    eventually("its subscriptions") { admin(server).status["cable"]["subscriptions"] == 4 }
    result = run_beside(server.directory, 'CABLE.broadcast("chat", "back again")', registry: registry)
    expect(result.status).to be_success, result.to_s
    wait_for(stuck, "chat", '"back again"')
    server.stop
  ensure
    Process.kill(:CONT, stuck) if stuck && Harness::ProcFS.alive?(stuck)
  end

  it "says what is wrong when no server of the application runs" do
    registry = Harness::Suite.new_directory("registry")
    directory = cable.directory
    code = 'begin; CABLE.broadcast("chat", 1); rescue PhusionPassenger::CableClient::Error => e; puts e.message; end'
    message = /\AAction Cable's adapter passenger needs the application to be served by passenger: no running server of #{directory} \(development\)/
    expect(run_beside(directory, code, registry: registry, within: 20).out).to match(message).and include(registry)

    other = start(processes: 1, registry: registry) # of another application
    expect(run_beside(directory, code, registry: registry, within: 20).out).to match(message)
    other.signal(:KILL)
    other.wait
    expect(run_beside(other.directory, code, registry: registry, within: 20).out).to match(/nobody listens on/)
    FileUtils.rm_rf(Dir.glob(File.join(registry, "*")))
  end

  it "does not hang when the server does" do
    registry = Harness::Suite.new_directory("registry")
    server = start(processes: 1, registry: registry)
    server.signal(:STOP)
    code = 'begin; CABLE.broadcast("chat", 1); rescue PhusionPassenger::CableClient::Error => e; puts e.message; end'
    expect(run_beside(server.directory, code, registry: registry).out).to match(/the server does not answer/)
    server.signal(:CONT)
    server.stop
  end

  it "connects processes beside the server again when that has been restarted" do
    registry = Harness::Suite.new_directory("registry")
    server = start(processes: 1, registry: registry)
    code = 'CableRecord.new("received-beside").follow("chat"); $stdin.read; sleep'
    beside = Harness::Command.new(["bundle", "exec", "ruby", "-r./cable_server", "-e", code], directory: server.directory, name: "beside",
                                  environment: { **cable.environment(server.directory), "PASSENGER_INSTANCE_REGISTRY_DIR" => registry }).start
    eventually("its subscription") { received("beside", "chat") == ["subscribed"] }
    publish(server, "chat", from: 1, count: 1)
    wait_for("beside", "chat", 1)
    server.stop
    eventually("a line in its log") { beside.output.include?("Action Cable's connection to the server has ended") }
    again = start(processes: 1, registry: registry, directory: server.directory)
    eventually("another line in its log") { beside.output.include?("connected to the server again") }
    publish(again, "chat", from: 2, count: 1)
    wait_for("beside", "chat", 2)
    again.stop
  ensure
    beside&.destroy
  end
end
