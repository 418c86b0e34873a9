# frozen_string_literal: true

require "json"
require "logger"
require "stringio"

RSpec.describe "PhusionPassenger::CableClient" do
  client_class = PhusionPassenger::CableClient

  let(:frames) { PhusionPassenger::CableClient::Frames }
  let(:directory) { Harness::Suite.new_directory("cable") }
  let(:broker) { Harness::StandInBroker.new(File.join(directory, "cable")) }
  let(:log) { StringIO.new }
  let(:clients) { [] }
  let(:received) { Thread::Queue.new }
  let(:callback) { ->(message) { received << message } }

  before { stub_const("PhusionPassenger::App", Struct.new(:options).new({ "cable_socket" => broker.path })) }

  after do
    clients.each(&:close)
    broker.stop if File.exist?(broker.path)
  end

  def new_client(&run)
    run ||= ->(task) { Thread.new(&task) }
    PhusionPassenger::CableClient.new(logger: Logger.new(log), &run).tap { |client| clients << client }
  end

  def client = @client ||= new_client

  def pop(queue = received)
    Harness.eventually("an entry in the queue") { !queue.empty? }
    queue.pop
  end

  def expect_frame(kind, channel, message = "")
    broker.next_frame.tap { |frame| expect(frame.to_a.values_at(0, 2, 3)).to eq([kind, channel.b, message.b]) }
  end

  # A client that is subscribed to a channel
  def subscribed(channel = "chat", to: client)
    done = Thread::Queue.new
    to.subscribe(channel, callback, -> { done << true })
    pop(done)
    expect_frame(frames::SUBSCRIBE, channel)
  end

  it "connects when it is needed, once, from whatever thread" do
    expect(client).not_to be_nil
    expect(broker.connections).to be_empty
    Array.new(10) { |number| Thread.new { client.publish("chat", "message #{number}") } }.each(&:join)
    got = Array.new(10) { broker.next_frame }
    expect(got.map(&:message)).to match_array(Array.new(10) { |number| "message #{number}" })
    expect(got).to all(have_attributes(kind: frames::PUBLISH, channel: "chat"))
    expect(broker.connections.size).to eq(1)
  end

  it "sends a thread's messages in their order, with all the bytes they have" do
    texts = ["größe", "", "\xFF\x00".b, "x" * frames::MAX_MESSAGE, "{\"a\":1}"]
    texts.each { |text| client.publish("straße", text) }
    texts.each { |text| expect_frame(frames::PUBLISH, "straße", text) }
  end

  it "says that a subscription has succeeded when the broker has said so" do
    broker.acknowledging = false
    done = Thread::Queue.new
    client.subscribe("chat", callback, -> { done << :first })
    client.subscribe("chat", ->(_) {}, -> { done << :second })
    frame = expect_frame(frames::SUBSCRIBE, "chat")
    broker.message("chat", "for who was there before") # it is not for nobody, as the broker knows
    pop
    expect(done).to be_empty
    broker.acknowledge(frame)
    expect([pop(done), pop(done)]).to eq(%i[first second])
    client.subscribe("chat", ->(_) {}, -> { done << :third })
    expect(pop(done)).to eq(:third)
    expect(broker.frames).to be_empty
  end

  it "gives every subscriber every message in order, however many threads there are" do
    tasks = Thread::Queue.new
    pool = Array.new(4) { Thread.new { while (task = tasks.pop) do task.call end } }
    @client = new_client { |task| tasks << task }
    subscribed
    other = []
    client.subscribe("chat", ->(message) { other << message })
    texts = Array.new(1000, &:to_s)
    texts.each { |text| broker.message("chat", text) }
    expect(Array.new(1000) { pop }).to eq(texts)
    Harness.eventually("all messages") { other.size == 1000 }
    expect(other).to eq(texts)
    expect(other.first.encoding).to eq(Encoding::UTF_8)
  ensure
    tasks.close
    pool.each(&:join)
  end

  it "goes on when a subscriber raises" do
    client.subscribe("chat", ->(message) { raise ArgumentError, "not #{message}" })
    subscribed_to_same = Thread::Queue.new
    client.subscribe("chat", callback, -> { subscribed_to_same << true })
    pop(subscribed_to_same)
    broker.message("chat", "one")
    broker.message("chat", "two")
    expect([pop, pop]).to eq(%w[one two])
    expect(log.string).to include("ArgumentError: not one").and include("ArgumentError: not two")
  end

  it "unsubscribes when the last subscriber has gone, whoever looks equal to it" do
    same = ->(message) { received << message }
    subscribed
    client.subscribe("chat", same)
    client.unsubscribe("chat", callback)
    broker.message("chat", "one")
    expect(pop).to eq("one")
    expect(broker.frames).to be_empty
    client.unsubscribe("chat", same)
    expect_frame(frames::UNSUBSCRIBE, "chat")
    broker.message("chat", "two")
    client.unsubscribe("chat", same) # and once more is nothing
    client.unsubscribe("elsewhere", same)
    subscribed("another")
    broker.message("another", "three")
    expect(pop).to eq("three")
  end

  it "refuses what is too long, and says what it was" do
    expect { client.publish("chat", "x" * (frames::MAX_MESSAGE + 1)) }
      .to raise_error(client_class::TooLarge, /a message has 1048577 bytes.*at most 1048576.*"chat"/)
    expect { client.subscribe("c" * 8193, callback) }.to raise_error(client_class::TooLarge, /channel has 8193 bytes/)
    expect { client.publish("", "x") }.to raise_error(ArgumentError, /empty/)
  end

  it "connects again when the connection has ended, and subscribes again to what is wanted then" do
    subscribed
    subscribed("news")
    client.unsubscribe("news", callback)
    expect_frame(frames::UNSUBSCRIBE, "news")
    broker.stop
    Harness.eventually("a line in the log") { log.string.include?("connection to the server has ended") }
    done = Thread::Queue.new
    client.subscribe("late", callback, -> { done << true })
    broker.start
    pop(done)
    expect([broker.next_frame, broker.next_frame].map { |frame| [frame.kind, frame.channel] })
      .to match_array([[frames::SUBSCRIBE, "chat"], [frames::SUBSCRIBE, "late"]])
    broker.message("chat", "hello again")
    expect(pop).to eq("hello again")
    expect(log.string).to include("connected to the server again")
  end

  it "does not lose a message because the connection has ended unnoticed" do
    client.publish("chat", "one")
    expect_frame(frames::PUBLISH, "chat", "one")
    broker.stop
    broker.start
    client.publish("chat", "two")
    expect_frame(frames::PUBLISH, "chat", "two")
    expect(broker.frames).to be_empty
  end

  it "publishes when the broker has confirmed the message before, whichever thread's that was" do
    broker.acknowledging = false
    expect(client).not_to be_nil # made before several threads do
    threads = Array.new(3) { |number| Thread.new { client.publish("chat", number.to_s) } }
    3.times do |done|
      frame = broker.next_frame
      expect(broker.frames).to be_empty
      expect(threads.count(&:alive?)).to eq(3 - done)
      broker.acknowledge(frame)
      eventually("its end") { threads.count(&:alive?) == 2 - done }
    end
  end

  it "says that it does not know what has become of a message when the connection ends before it is confirmed" do
    broker.acknowledging = false
    outcome = publish_in_vain { broker.connections.last.shutdown }
    expect(outcome).to match(/closed the connection without an answer/)
    broker.acknowledging = true
    client.publish("chat", "y")
    expect_frame(frames::PUBLISH, "chat", "y")
  end

  it "does not wait for a confirmation for ever" do
    stub_const("PhusionPassenger::CableClient::Connection::ANSWERING", 0.2)
    broker.acknowledging = false
    expect(publish_in_vain {}).to match(/does not answer/)
  end

  it "raises what the broker says about a message" do
    broker.acknowledging = false
    outcome = publish_in_vain { |frame| broker.send_frame(frames::FAILURE, frame.number, "", "no more of these") }
    expect(outcome).to eq("no more of these")
  end

  # The message of the error; the block gets the frame when the broker has it.
  def publish_in_vain
    outcome = Thread.new do
      client.publish("chat", "x")
    rescue PhusionPassenger::CableClient::Error => e
      e.message
    end
    yield expect_frame(frames::PUBLISH, "chat", "x")
    outcome.value
  end

  it "raises when there is no server, and says what to do" do
    broker.stop
    expect { client.publish("chat", "x") }.to raise_error(
      client_class::Unavailable, /needs the application to be served by passenger.*#{broker.path}.*PASSENGER_INSTANCE_REGISTRY_DIR/
    )
  end

  it "waits for a server when it can't subscribe, and complains once" do
    broker.stop
    done = Thread::Queue.new
    client.subscribe("chat", callback, -> { done << true })
    client.subscribe("news", callback)
    expect(log.string.scan("needs the application to be served by passenger").size).to eq(1)
    broker.start
    pop(done)
  end

  it "passes on why the broker refuses it" do
    broker.greeting = frames.encode(frames::FAILURE, 0, "", "the process speaks version 1 of the protocol")
    expect { client.publish("chat", "x") }.to raise_error(client_class::Unavailable, /speaks version 1 of the protocol/)
  end

  it "does not hang when the broker does" do
    stub_const("PhusionPassenger::CableClient::Connection::GREETING", 0.2)
    stub_const("PhusionPassenger::CableClient::Connection::WRITING", 0.2)
    broker.greeting = ""
    expect { client.publish("chat", "x") }.to raise_error(client_class::Unavailable, /does not answer/)
    broker.stop
    server = UNIXServer.new(broker.path)
    server.listen(0)
    filled = Array.new(3) { Socket.new(:UNIX, :STREAM) }
    filled.each do |socket|
      socket.connect_nonblock(Socket.sockaddr_un(broker.path))
    rescue Errno::EAGAIN
      next
    end
    expect { client.publish("chat", "x") }.to raise_error(client_class::Unavailable, /does not take the connection/)
  ensure
    [server, *filled].compact.each(&:close)
  end

  it "gives up a message that the broker does not take" do
    stub_const("PhusionPassenger::CableClient::Connection::WRITING", 0.2)
    path = broker.path
    broker.stop
    server = UNIXServer.new(path)
    Thread.new do
      loop { server.accept.write(broker.greeting) } # and reads nothing
    rescue IOError
      nil
    end
    expect { 4.times { client.publish("chat", "x" * 500_000) } }.to raise_error(client_class::Lost, /has taken nothing for 0.2 seconds/)
  ensure
    server.close
  end

  it "does not let a channel whose subscriber is slow take all the memory" do
    stub_const("PhusionPassenger::CableClient::Mailbox::Backlog::LIMIT", 10_000)
    gate = Thread::Queue.new
    slow = lambda do |message|
      gate.pop
      received << message.bytesize
    end
    done = Thread::Queue.new
    client.subscribe("slow", slow, -> { done << true })
    pop(done)
    sender = Thread.new { 100.times { broker.message("slow", "x" * 50_000) } }
    sleep 0.2
    expect(sender).to be_alive
    gate.close
    expect(Array.new(100) { pop }).to all(eq(50_000))
    sender.join
  end

  it "ends its connection and its threads when it is closed" do
    subscribed
    threads = Thread.list.select { |thread| thread.name.to_s.start_with?("passenger cable") }
    expect(threads.size).to eq(1)
    client.close
    expect(threads).to all(satisfy { |thread| !thread.alive? })
    Harness.eventually("the end of the connection") { broker.connections.all?(&:closed?) }
    client.close
    client.unsubscribe("chat", callback)
    client.subscribe("chat", callback)
    client.publish("chat", "from somebody who still has it")
    expect_frame(frames::PUBLISH, "chat", "from somebody who still has it")
    Harness.eventually("the end of that connection") { broker.connections.size == 2 && broker.connections.all?(&:closed?) }
  end

  it "can be closed while it tries to connect" do
    broker.stop
    client.subscribe("chat", callback)
    keeper = Thread.list.find { |thread| thread.name == "passenger cable keeper" }
    expect(keeper).to be_alive
    client.close
    expect(keeper).not_to be_alive
  end

  it "makes a connection of its own in a process that is forked, and leaves the parent's alone" do
    subscribed
    reader, writer = IO.pipe
    child = fork do
      reader.close
      received_there = Thread::Queue.new
      client.publish("chat", "from the child")
      done = Thread::Queue.new
      client.subscribe("other", ->(message) { received_there << message }, -> { done << true })
      done.pop
      writer.puts("ready")
      writer.puts(received_there.pop)
    ensure
      exit!(0)
    end
    writer.close
    expect_frame(frames::PUBLISH, "chat", "from the child")
    expect_frame(frames::SUBSCRIBE, "other") # and not "chat": the parent has that
    expect(reader.gets).to eq("ready\n")
    expect(broker.connections.size).to eq(3)
    broker.message("other", "for the child", to: broker.connections[2])
    expect(reader.gets).to eq("for the child\n")
    Process.wait(child)
    broker.message("chat", "for the parent", to: broker.connections[0])
    expect(pop).to eq("for the parent")
  ensure
    reader&.close
  end

  describe "in a process that the server has not started" do
    let(:registry) { Harness::Suite.new_directory("registry") }
    let(:root) { Harness::Suite.new_directory("app") }
    let(:name) { "passenger.abcDEF1" }
    let(:broker) do
      FileUtils.mkdir_p(File.join(registry, name, "agents.s"))
      Harness::StandInBroker.new(File.join(registry, name, "agents.s", "cable"))
    end

    before { stub_const("PhusionPassenger::App", Struct.new(:options).new({})) }

    def register(name = self.name, **changes)
      properties = { "app_root" => root, "environment" => "production", "instance_dir" => { "created_at_monotonic_usec" => 1000 }, **changes.transform_keys(&:to_s) }
      FileUtils.mkdir_p(File.join(registry, name))
      File.write(File.join(registry, name, "properties.json"), JSON.generate(properties))
    end

    def client(app_root: root, environment: "production", env: { "PASSENGER_INSTANCE_REGISTRY_DIR" => registry })
      locator = PhusionPassenger::CableClient::Locator.new(app_root: app_root, environment: environment, env: env)
      PhusionPassenger::CableClient.new(logger: Logger.new(log), locator: locator) { |task| Thread.new(&task) }.tap { |client| clients << client }
    end

    it "finds the running server of the application" do
      register
      client.publish("chat", "from a console")
      expect_frame(frames::PUBLISH, "chat", "from a console")
    end

    it "finds it by the link that the server was started with, and in TMPDIR" do
      link = File.join(Harness::Suite.new_directory("links"), "current")
      File.symlink(root, link)
      register(app_root: link)
      client(env: { "TMPDIR" => registry }).publish("chat", "x")
      expect_frame(frames::PUBLISH, "chat", "x")
    end

    it "takes the newest that lives" do
      register
      register("passenger.killed1", instance_dir: { created_at_monotonic_usec: 3000 })
      FileUtils.mkdir_p(File.join(registry, "passenger.older01", "agents.s"))
      older = Harness::StandInBroker.new(File.join(registry, "passenger.older01", "agents.s", "cable"))
      register("passenger.older01", instance_dir: { created_at_monotonic_usec: 500 })
      client.publish("chat", "x")
      expect_frame(frames::PUBLISH, "chat", "x")
      expect(older.connections).to be_empty
    ensure
      older&.stop
    end

    it "says why none of those that are there will do" do
      register(environment: "staging")
      register("passenger.another", app_root: "/srv/elsewhere")
      File.write(File.join(registry, "passenger.another", "properties.json"), "[1")
      Dir.mkdir(File.join(registry, "passenger.pipe123"))
      File.mkfifo(File.join(registry, "passenger.pipe123", "properties.json"))
      expect { client.publish("chat", "x") }.to raise_error(client_class::Unavailable) { |error|
        expect(error.message).to include("no running server of #{root} (production)").and include("runs the environment staging")
          .and include("passenger.another/properties.json is not what a server writes").and include("Looked for in #{registry}, /tmp")
      }
    end

    it "does not trust the directory of another user" do
      skip "needs root" unless Process.uid.zero?
      register
      File.chown(65_534, nil, File.join(registry, name))
      expect { client.publish("chat", "x") }.to raise_error(client_class::Unavailable, /belongs to another user \(65534\)/)
      expect(broker.connections).to be_empty
      File.chown(65_534, nil, root) # root may speak to the server of the application's user, but this one is not run by it
      expect { client.publish("chat", "x") }.to raise_error(client_class::Unavailable, /run by the user 0/)
    end

    it "reaches a socket whose path is too long for an address" do
      deep = File.join(registry, "deep" * 30)
      FileUtils.mkdir_p(File.join(deep, name))
      broker
      File.rename(File.join(registry, name), File.join(deep, name).tap { |path| FileUtils.rm_rf(path) })
      properties = { app_root: root, environment: "production", instance_dir: { created_at_monotonic_usec: 1 } }
      File.write(File.join(deep, name, "properties.json"), JSON.generate(properties))
      client(env: { "PASSENGER_INSTANCE_REGISTRY_DIR" => deep }).publish("chat", "x")
      expect_frame(frames::PUBLISH, "chat", "x")
    ensure
      FileUtils.rm_rf(deep)
    end
  end
end
