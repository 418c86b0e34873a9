# frozen_string_literal: true

require "etc"
require_relative "../support/pooling"
require_relative "../support/control_group"

RSpec.describe "the size of the pool" do
  def start(code: "", **options)
    directory = Harness::Apps.directory("control")
    File.write(File.join(directory, "config.ru"), code + File.read(Harness::Pooling::CONTROL))
    start_server(directory, **options)
  end

  # Whatever becomes of an example, its requests must not stay in a server that others use.
  after { @held&.each { |gate, server| open_gate(gate, server: server) if server.running? } }

  # Requests that are held in workers, all of them arrived there.
  def held(count, gate, server = self.server)
    (@held ||= {})[gate] = server
    clients = Array.new(count) { hold(gate, server: server) }
    wait_until_entered(gate, count, server: server)
    clients
  end

  def finish(clients, gate, server = self.server)
    open_gate(gate, server: server)
    clients.map { |client| client.read_response.status }
  ensure
    clients.each(&:close)
  end

  # How long the requests in work have been there, by the server's clock.
  def ages(status)
    status["workers"].flat_map { |worker| worker["current"].map { |request| request["age_ms"] } }
  end

  describe "between --min-instances and --max-pool-size" do
    serve "control", min_instances: 1, max_pool_size: 3, pool_idle_time: 1

    it "grows while requests wait, to the maximum and not beyond" do
      gate = new_gate
      seen = watching do
        clients = held(3, gate)
        expect(entered(gate).uniq.size).to eq(3)
        waiting = Array.new(8) { hold(gate) }
        eventually("look at the pool with requests that wait") { status["requests"] - waiting.size >= 3 && pool["size"] == 3 }
        expect(finish(clients + waiting, gate)).to all(eq(200))
      end
      expect(seen.map { |status| status["pool"]["target"] }).to all(be <= 3)
      expect(seen.map { |status| staying(status) }.max).to eq(3)
    end

    it "shrinks to what the peak of the idle time needed, then to the minimum, and loses no request by it" do
      first, second = new_gate, new_gate
      expect(finish(held(3, first), first)).to all(eq(200))
      clients = held(2, second)
      watching { |watch| watch.wait("a pool for two") { |status| status["pool"]["target"] == 2 } }
      expect(finish(clients, second)).to all(eq(200))
      seen = watching { settled(1) }
      expect(seen.map { |status| status["pool"]["target"] }.uniq).to eq([2, 1])
      expect(server.log).to match(/to be replaced.*reason=idle/)
    end

    it "shrinks by idle workers and leaves those alone that are busy, whatever their age" do
      by_worker = Array.new(3) { new_gate }.to_h { |gate| [gate, held(1, gate)] }
                                       .to_h { |gate, clients| [entered(gate).first, [gate, clients]] }
      oldest = pids.find { |pid| by_worker.key?(pid) }
      gate, clients = by_worker.delete(oldest)
      expect(finish(clients, gate)).to eq([200])
      expect(settled(2)["workers"].map { |worker| worker["pid"] }).to match_array(by_worker.keys)
      by_worker.each_value { |other, waiting| expect(finish(waiting, other)).to eq([200]) }
    end

    it "does not swing under steady traffic" do
      seen = []
      outcomes = Harness::Load.during(server, connections: 2) do |load|
        eventually("a pool of two") { pool.values_at("ready", "size", "target") == [2, 2, 2] }
        workers = pids
        # An idle time at least, by the server's clock.
        last = status["uptime"] + 2
        seen = watching { |watch| watch.wait("one more second of the server") { |status| status["uptime"] >= last } }
        load.wait_for(10)
        expect(pids).to match_array(workers)
      end
      expect(outcomes.map(&:kind).uniq).to eq([200])
      expect(seen.map { |status| status["pool"].values_at("target", "size", "retiring") }.uniq).to eq([[2, 2, 0]])
    end
  end

  describe "with --min-instances 0" do
    def expect_served(server, count)
      clients = Array.new(count) { server.connect.tap { |client| client.request("GET", "/pid") } }
      expect(clients.map { |client| client.read_response.status }).to all(eq(200))
    ensure
      clients&.each(&:close)
    end

    it "becomes nothing when nobody comes, and the next requests bring workers back" do
      server = start(min_instances: 0, max_pool_size: 2, pool_idle_time: 1)
      expect_served(server, 1)
      preloader = server.preloader
      settled(0, server)
      expect(server.workers).to eq([])
      expect(status(server)).to include("state" => "serving", "boots" => 1)
      expect_served(server, 5)
      expect(server.preloader).to eq(preloader)
      expect(status(server)["boots"]).to eq(1)
      server.stop
    end

    it "comes back from nothing, too, when the preloader has been dropped" do
      server = start(min_instances: 0, max_pool_size: 2, pool_idle_time: 1, max_preloader_idle_time: 1)
      expect_served(server, 1)
      eventually(-> { "an end of all processes (#{server.processes.map { |pid| Harness::ProcFS.describe(pid) }})" }) { server.processes.empty? }
      expect(settled(0, server)).to include("state" => "serving", "boot_error" => nil)
      expect_served(server, 5)
      expect(server.preloader).to be_a(Integer)
      server.stop
    end
  end

  it "is --min-instances from the start and stays so without a preloader, which comes back for more" do
    server = start(min_instances: 2, max_pool_size: 3, pool_idle_time: 1, max_preloader_idle_time: 1)
    workers = settled(2, server)["workers"].map { |worker| worker["pid"] }
    seen = watching(server) { eventually("the end of the preloader") { server.preloader.nil? } }
    expect(seen.map { |status| status["pool"]["target"] }.uniq).to eq([2])
    gate = new_gate
    clients = held(3, gate, server)
    expect(entered(gate, server: server)).to include(*workers).and have_attributes(size: 3)
    expect(finish(clients, gate, server)).to all(eq(200))
    server.stop
  end

  describe "with --max-pool-size auto" do
    it "is what the machine can do with" do
      server = start(max_pool_size: "auto", min_instances: 1)
      settled(1, server)
      expect(pool(server)["max"]).to be_between(1, 2 * Etc.nprocessors)
      expect(server.log).to match(/max_pool_size=\d+ processors=[\d.]+ memory=\d+/)
      server.stop
    end

    it "is what the cgroup's share of the processors can do with" do
      skip "one processor is no more than one and a half of them" if Etc.nprocessors < 2
      Harness::ControlGroup.with_processors(1.5) do |group|
        skip "no cgroup can be made here" unless group
        server = group.contain(Harness::PassengerServer.new(Harness::Apps.directory("control"), max_pool_size: "auto"))
        started << server
        server.start
        settled(1, server)
        expect(pool(server)["max"]).to eq(3)
        server.stop
      ensure
        server&.destroy if server&.running?
      end
    end
  end

  describe "counts as room" do
    # The server has room for three in one process: a fourth request makes it start another one, and none before.
    def expect_three_in_each(server)
      expect(settled(1, server)["workers"]).to match([a_hash_including("slots" => 3)])
      gate = new_gate
      clients = nil
      seen = watching(server) do |watch|
        clients = held(3, gate, server)
        # Long enough for the server to have looked at the pool at least once since.
        watch.wait("age of the requests") { |status| ages(status).count { |age| age > 600 } == 3 }
      end
      expect(entered(gate, server: server).uniq.size).to eq(1)
      expect(seen.map { |status| status["pool"].values_at("size", "target", "threads") }.uniq).to eq([[1, 1, 3]])
      clients << hold(gate, server: server)
      expect(wait_until_entered(gate, 4, server: server).uniq.size).to eq(2)
      expect(pool(server)).to include("size" => 2, "target" => 2)
      expect(finish(clients, gate, server)).to all(eq(200))
      server.stop
    end

    it "each of --thread-count" do
      expect_three_in_each(start(min_instances: 1, max_pool_size: 3, thread_count: 3))
    end

    it "what --force-max-concurrent-requests-per-process says, whatever the application and --thread-count say" do
      expect_three_in_each(start(min_instances: 1, max_pool_size: 3, thread_count: 2, force_max_concurrent_requests_per_process: 3,
                                 code: "PhusionPassenger.advertised_concurrency_level = 5\n"))
    end

    it "what the application advertises" do
      expect_three_in_each(start(min_instances: 1, max_pool_size: 3, code: "PhusionPassenger.advertised_concurrency_level = 3\n"))
    end
  end

  describe "is refused on the command line" do
    {
      "when the process model is to have threads" => [%w[--concurrency-model process --thread-count 4], "concurrency-model", "thread-count 4"],
      "when the model is unknown" => [%w[--concurrency-model fibers], "--concurrency-model", "fibers", "process", "thread"]
    }.each do |reason, (arguments, *names)|
      it reason do
        result = run_command(Harness::PassengerServer.command("start", *arguments), directory: Harness::Apps.hello)
        expect(result).to(names.reduce(be_one_line_error) { |matcher, name| matcher.naming(name) })
      end
    end
  end
end
