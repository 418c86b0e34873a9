# frozen_string_literal: true

require File.join(Harness::ROOT, "phusion_passenger/fork_safety")

# With stand-ins for the libraries; the real ones are in spec/rails/fork_safety_spec.rb.
RSpec.describe PhusionPassenger::ForkSafety do
  fork_safety = PhusionPassenger::ForkSafety

  before { allow(PhusionPassenger::Log).to receive(:write) { |text| said << text } }

  let(:said) { [] }

  # Objects that remember what has been called, found in the heap as those of the library are.
  def recorder(*methods, **answers)
    Class.new do
      attr_reader :calls

      def initialize = @calls = []

      methods.each { |name| define_method(name) { |*arguments| @calls << [name, *arguments] } }
      answers.each { |name, answer| define_method(name) { answer } }
    end
  end

  # The block's value in a child of this process.
  def in_child
    reader, writer = IO.pipe
    pid = fork do
      reader.close
      writer.write(Marshal.dump(yield))
      exit!(0)
    end
    writer.close
    value = reader.read
    Process.wait(pid)
    Marshal.load(value) # rubocop:disable Security/MarshalLoad
  ensure
    reader.close
  end

  describe ".before_fork and .after_fork" do
    let(:family) { instance_double(fork_safety::Family, before_fork: nil, after_fork: nil, disowned: nil) }

    before { stub_const("PhusionPassenger::ForkSafety::FAMILIES", [family]) }

    it "renew a process once, however often it is asked to" do
      calls = in_child do
        count = 0
        allow(family).to receive(:after_fork) { count += 1 }
        3.times { fork_safety.after_fork }
        count
      end
      expect(calls).to eq(1)
    end

    it "renew each of the processes that are forked from one another" do
      fork_safety.before_fork
      calls = in_child do
        fork_safety.after_fork
        fork_safety.before_fork
        in_child do
          count = 0
          allow(family).to receive(:after_fork) { count += 1 }
          fork_safety.after_fork
          count
        end
      end
      expect(calls).to eq(1)
    end

    it "give up what belongs to the parent before they close anything, in a process that was forked from a serving one" do
      fork_safety.before_fork
      order = in_child do
        order = []
        %i[disowned before_fork].each { |name| allow(family).to receive(name) { order << name } }
        2.times { fork_safety.before_fork }
        order
      end
      expect(order).to eq(%i[disowned before_fork before_fork])
    end
  end

  it "does nothing where no library is loaded" do
    names = fork_safety::FAMILIES.map { |family| family.class.new }
    names.each { |family| %i[before_fork disowned after_fork].each { |step| expect { family.public_send(step) }.not_to raise_error } }
    expect(said).to eq([])
  end

  it "takes neither an autoload nor a constant that is no class for the library" do
    stub_const("Redis", Module.new.tap { |library| library.autoload(:Client, "/nonexistent/redis/client") })
    stub_const("Sequel", :a_symbol)
    [fork_safety::RedisClients, fork_safety::SequelDatabases].each { |family| family.new.before_fork }
    expect(said).to eq([])
  end

  it "goes on with the next client when one raises, and says what failed" do
    dalli = recorder(:close)
    stub_const("Dalli::Client", dalli)
    clients = Array.new(3) { dalli.new }
    clients[1].define_singleton_method(:close) { raise NotImplementedError, "no way" }
    fork_safety::DalliClients.new.before_fork
    expect([clients.first, clients.last].map(&:calls)).to eq([[[:close]]] * 2)
    expect(said.join).to match(/\Afork safety: closing a Dalli client failed; the application goes on\n  NotImplementedError: no way/)
  end

  describe "Redis" do
    it "closes clients of redis 4, which are no RedisClients, and of redis-client, once each" do
      four = recorder(:disconnect, connected?: true)
      stub_const("Redis::Client", four)
      alone = recorder(:close, connected?: true)
      stub_const("RedisClient", alone)
      clients = [four.new, alone.new]
      fork_safety::RedisClients.new.before_fork
      expect(clients.map(&:calls)).to eq([[[:disconnect]], [[:close]]])
    end

    it "closes clients of redis 5, which are RedisClients, once each" do
      base = recorder(:close, connected?: true)
      stub_const("RedisClient", base)
      stub_const("Redis::Client", five = Class.new(base))
      client = five.new
      fork_safety::RedisClients.new.before_fork
      expect(client.calls).to eq([[:close]])
    end

    it "leaves clients alone that are not connected" do
      stub_const("RedisClient", idle = recorder(:close, connected?: false))
      client = idle.new
      fork_safety::RedisClients.new.before_fork
      expect(client.calls).to eq([])
    end

    it "closes in the worker what was connected again meanwhile, without looking for it" do
      stub_const("RedisClient", recorder(:close, connected?: true))
      client = RedisClient.new
      family = fork_safety::RedisClients.new
      family.before_fork
      expect(ObjectSpace).not_to receive(:each_object)
      2.times { family.after_fork }
      expect(client.calls).to eq([[:close]] * 2)
    end
  end

  describe "MongoDB" do
    it "closes the clients of Mongoid and those beside it before the fork, and reconnects them after" do
      stub_const("Mongo::Client", mongo = recorder(:close, :reconnect))
      managed = mongo.new
      alone = mongo.new
      stub_const("Mongoid::Clients", Module.new { define_singleton_method(:clients) { { default: managed } } })
      family = fork_safety::MongoClients.new
      family.before_fork
      expect([managed, alone].map(&:calls)).to eq([[[:close]]] * 2)
      2.times { family.after_fork }
      expect([managed, alone].map(&:calls)).to eq([[[:close], [:reconnect]]] * 2)
    end
  end

  describe "Sequel" do
    it "disconnects every database before and after the fork" do
      stub_const("Sequel::DATABASES", databases = Array.new(2) { recorder(:disconnect).new })
      family = fork_safety::SequelDatabases.new
      family.before_fork
      family.after_fork
      expect(databases.map(&:calls)).to eq([[[:disconnect]] * 2] * 2)
    end
  end

  describe "connection_pool" do
    # The interface of the gem: reload gives each connection to the block.
    let(:pool_class) do
      Class.new do
        attr_reader :connections

        def initialize(*connections) = @connections = connections
        def reload(&block) = @connections.shift(@connections.size).each(&block)
      end
    end

    it "closes and forgets what lies in the pools" do
      stub_const("ConnectionPool", pool_class)
      connection = recorder(:close).new
      pool = ConnectionPool.new(connection, Object.new)
      fork_safety::ConnectionPools.new.before_fork
      expect(pool.connections).to eq([])
      expect(connection.calls).to eq([[:close]])
    end

    it "leaves a pool alone that was told to stay as it is" do
      pool_class.define_method(:auto_reload_after_fork) { false }
      stub_const("ConnectionPool", pool_class)
      pool = ConnectionPool.new(:connection)
      fork_safety::ConnectionPools.new.before_fork
      expect(pool.connections).to eq([:connection])
    end
  end

  describe "the cache" do
    it "is reconnected after the fork if it can be" do
      cache = recorder(:reconnect).new
      stub_const("Rails", Module.new { define_singleton_method(:cache) { cache } })
      fork_safety::RailsCache.new.after_fork
      expect(cache.calls).to eq([[:reconnect]])
    end
  end

  describe "ActiveSupport's fork tracker" do
    it "is asked in the way of its version" do
      %i[check! after_fork_callback].each do |method|
        tracker = recorder(method).new
        stub_const("ActiveSupport::ForkTracker", Module.new { define_singleton_method(method) { tracker.public_send(method) } })
        fork_safety::ForkHooks.new.after_fork
        expect(tracker.calls).to eq([[method]])
      end
    end
  end

  describe "ActionCable" do
    def cable(server)
      stub_const("ActionCable", Module.new.tap { |library| library.instance_variable_set(:@server, server) })
    end

    it "is restarted before the fork, with its event loop" do
      event_loop = recorder(:stop).new
      server = recorder(:restart).new
      server.instance_variable_set(:@event_loop, event_loop)
      cable(server)
      fork_safety::CableServer.new.before_fork
      expect([server.calls, event_loop.calls]).to eq([[[:restart]], [[:stop]]])
      expect(server.instance_variable_get(:@event_loop)).to be_nil
    end

    it "does not talk to the parent's clients" do
      server = recorder(:restart).new
      %i[@pubsub @connections].each { |name| server.instance_variable_set(name, Object.new) }
      cable(server)
      fork_safety::CableServer.new.disowned
      expect(server.calls).to eq([])
      expect(server.instance_variable_get(:@connections)).to be_nil
    end

    it "is not started for that" do
      cable(nil)
      expect { fork_safety::CableServer.new.before_fork }.not_to raise_error
      expect(ActionCable.instance_variable_get(:@server)).to be_nil
    end
  end

  describe "ActiveRecord" do
    let(:connection_class) { Struct.new(:owner) { def in_use? = !owner.nil? } }
    let(:pool_class) { recorder(:disconnect!, :flush!, :release_connection).tap { |pool| pool.attr_accessor(:connections) } }

    def pool(*connections) = pool_class.new.tap { |pool| pool.connections = connections }

    def active_record(major, minor, **methods)
      stub_const("ActiveRecord::VERSION", Module.new)
      stub_const("ActiveRecord::VERSION::MAJOR", major)
      stub_const("ActiveRecord::VERSION::MINOR", minor)
      stub_const("ActiveRecord::Base", Class.new)
      methods.each { |name, answer| ActiveRecord::Base.define_singleton_method(name) { answer.respond_to?(:call) ? answer.call : answer } }
    end

    define_method(:before_fork) { fork_safety::ActiveRecordPools.new.before_fork }

    it "is asked for the pools of all roles since 7.1" do
      pools = [pool, pool]
      handler = Object.new
      handler.define_singleton_method(:connection_pool_list) { |role = nil| role == :all ? pools : [] }
      active_record(7, 1, connection_handler: handler)
      before_fork
      expect(pools.map(&:calls)).to eq([[[:disconnect!]]] * 2)
    end

    it "is asked for all pools before" do
      pools = [pool, pool]
      active_record(7, 0, connection_handler: recorder(all_connection_pools: pools).new,
                          connection_handlers: -> { raise NotImplementedError, "without legacy_connection_handling" })
      before_fork
      expect(pools.map(&:calls)).to eq([[[:disconnect!]]] * 2)
    end

    it "is asked for every handler where each role has one" do
      shared, other = pool, pool
      writing = recorder(all_connection_pools: [shared]).new
      reading = recorder(all_connection_pools: [shared, other]).new
      active_record(6, 1, connection_handler: writing, default_connection_handler: writing,
                          connection_handlers: { writing: writing, reading: reading })
      before_fork
      expect([shared, other].map(&:calls)).to eq([[[:disconnect!]]] * 2)
    end

    it "loses a connection of this thread, and of one that has ended" do
      ended = Thread.new {}.tap(&:join)
      held = pool(connection_class.new(Thread.current), connection_class.new(ended), connection_class.new(nil))
      active_record(6, 0, connection_handler: recorder(connection_pool_list: [held]).new)
      before_fork
      expect(held.calls).to eq([[:disconnect!]])
    end

    it "keeps a connection that another thread works with, and says whose it is" do
      holder = Thread.new { sleep }.tap { |thread| thread.name = "poller" }
      held = pool(connection_class.new(holder))
      active_record(6, 1, connection_handler: recorder(all_connection_pools: [held]).new)
      before_fork
      expect(held.calls).to eq([[:release_connection], [:flush!]])
      expect(said.join).to include("thread poller of the application holds a database connection")
    ensure
      holder.kill
    end
  end

  describe "connections of drivers" do
    it "that are still open are told of, once" do
      stub_const("PG::Connection", recorder(finished?: false))
      kept = PG::Connection.new
      stub_const("SQLite3::Database", recorder(closed?: true))
      closed = SQLite3::Database.new
      family = fork_safety::RawConnections.new
      2.times { family.before_fork }
      expect(said).to match([/\Afork safety: 1 open PG::Connection belongs to no pool .*on_event\(:starting_worker_process\)/])
      expect([kept, closed].map(&:calls)).to eq([[], []])
    end

    it "that belong to the parent are cut off without a word" do
      ours, theirs = UNIXSocket.pair
      stub_const("PG::Connection", recorder(finished?: false, socket_io: ours))
      connection = PG::Connection.new
      fork_safety::RawConnections.new.disowned
      ours.write("terminate")
      expect(theirs.read).to eq("")
      expect(connection.calls).to eq([])
    ensure
      [ours, theirs].each(&:close)
    end
  end

  describe "random numbers" do
    { "1.1.0l" => [0x101000cf, 1], "1.1.1" => [0x10101000, 0], "3.0.19" => [0x30000130, 0] }.each do |version, (number, times)|
      it "of OpenSSL #{version} are seeded #{times == 1 ? "once" : "by OpenSSL itself"}" do
        stub_const("OpenSSL::OPENSSL_VERSION_NUMBER", number)
        generator = recorder(:seed).new
        stub_const("OpenSSL::Random", Module.new { define_singleton_method(:seed) { |bytes| generator.seed(bytes.bytesize) } })
        fork_safety::Randomness.new.after_fork
        expect(generator.calls).to eq([[:seed, 32]] * times)
      end
    end

    it "differ in processes that were seeded alike" do
      srand(42)
      drawn = Array.new(2) do
        in_child do
          srand(42)
          fork_safety::Randomness.new.after_fork
          [rand(2**62), [*1..1000].shuffle.first(3)]
        end
      end
      expect(drawn.uniq.size).to eq(2)
    end
  end
end
