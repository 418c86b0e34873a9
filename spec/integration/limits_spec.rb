# frozen_string_literal: true

require_relative "../support/pooling"

RSpec.describe "a worker that has used enough" do
  def start(code: "", **options)
    directory = Harness::Apps.directory("limits")
    File.write(File.join(directory, "config.ru"), code + File.read(File.join(Harness::Apps::SOURCE, "limits.ru")))
    start_server(directory, **options)
  end

  def expect_end(pid)
    eventually("the end of #{pid}") { !Harness::ProcFS.alive?(pid) }
  end

  describe "with --max-requests" do
    it "is replaced, and no request is lost by it" do
      server = start(min_instances: 2, max_pool_size: 2, max_requests: 20)
      first = settled(2, server)["workers"].map { |worker| worker["pid"] }
      outcomes = Harness::Load.during(server, connections: 6) do |load|
        load.wait_for(100)
        eventually("the end of the first workers") { (server.workers & first).empty? }
        second = server.workers
        eventually("the end of the second ones") { (server.workers & second).empty? }
        load.wait_for(100)
      end
      expect(outcomes.map(&:kind).tally.keys).to eq([200])
      # As many requests as it may have, and those that came until there was another one.
      expect(outcomes.map(&:detail).tally.slice(*first.map(&:to_s)).values).to all(be >= 20)
      expect(server.log).to match(/to be replaced worker=#{first.first} reason=max_requests/)
      server.stop
    end

    it "serves that many and is replaced when it has, without anybody asking for more" do
      server = start(max_pool_size: 1, max_requests: 5)
      first = settled(1, server)["workers"].first["pid"]
      4.times { expect(server.get("/pid").body).to eq(first.to_s) }
      gate = new_gate
      client = hold(gate, server: server)
      wait_until_entered(gate, server: server)
      expect(status(server)["workers"]).to match([a_hash_including("pid" => first, "requests" => 4, "working" => 1, "retiring" => "")])
      open_gate(gate, server: server)
      expect(client.read_response.body).to eq("held by #{first}")
      expect_end(first)
      expect(settled(1, server)["workers"].first["pid"]).not_to eq(first)
      server.stop
    ensure
      client&.close
    end
  end

  describe "with --memory-limit" do
    # Both have 120 MB that the preloader has allocated, which is a third of that for each of them and in full in their
    # resident size.
    BALLAST = "BALLAST = 'x' * (120 << 20)\n"

    it "counts what it shares in proportion, or in full with --memory-measure rss, and is replaced after its request" do
      proportional = start(code: BALLAST, min_instances: 3, max_pool_size: 3, memory_limit: 100)
      full = start(min_instances: 2, max_pool_size: 2, memory_limit: 100, memory_measure: "rss", hard_memory_limit: 1000)
      both = [[proportional, 3], [full, 2]]
      holders = both.map do |server, count|
        settled(count, server)
        gate = new_gate
        client = server.connect
        client.request("GET", "/allocate?megabytes=120&gate=#{gate}")
        [server, wait_until_entered(gate, server: server).first, gate, client, count]
      end
      holders.each do |server, victim, gate, client, count|
        eventually("a successor of #{victim}, there are #{server.workers}", within: 30) do
          status(server)["workers"].any? { |worker| worker.values_at("pid", "state", "retiring") == [victim, "leaving", "memory_limit"] }
        end
        open_gate(gate, server: server)
        expect(client.read_response).to have_attributes(status: 200, body: "held by #{victim}")
        expect_end(victim)
        rest = settled(count, server)["workers"]
        expect(server.log.scan(/to be replaced worker=(\d+) reason=memory_limit/).flatten.map(&:to_i)).to eq([victim])
        expect(rest.map { |worker| worker["pid"] }).not_to include(victim)
      end
      # Those that stay take more than the limit in full.
      expect(proportional.workers.map { |pid| Harness::ProcFS.resident_bytes(pid) }).to all(be > 120 << 20)
      both.each { |server, _| server.stop }
    ensure
      holders&.each { |_, _, _, client| client.close }
    end

    it "is measured in the same way beside --hard-memory-limit" do
      server = start(code: BALLAST, min_instances: 3, max_pool_size: 3, memory_limit: 100, hard_memory_limit: 1000)
      workers = settled(3, server)["workers"].map { |worker| worker["pid"] }
      # It is looked at twice a second then.
      eventually("workers of a second's age, or others") do
        now = status(server)["workers"]
        now.all? { |worker| worker["uptime"] >= 1 } || now.any? { |worker| worker["retiring"] != "" || !workers.include?(worker["pid"]) }
      end
      expect(server.log).not_to include("reason=memory_limit")
      expect(pids(server)).to match_array(workers)
      expect(workers.map { |pid| Harness::ProcFS.resident_bytes(pid) }).to all(be > 120 << 20)
      server.stop
    end
  end

  describe "with --hard-memory-limit" do
    it "is killed: its client gets 502, and no other client notices" do
      server = start(min_instances: 2, max_pool_size: 2, hard_memory_limit: 100)
      workers = settled(2, server)["workers"].map { |worker| worker["pid"] }
      other_gate, gate = new_gate, new_gate
      other = hold(other_gate, server: server)
      survivor = wait_until_entered(other_gate, server: server).first
      client = server.connect
      client.request("GET", "/allocate?megabytes=150&gate=#{gate}")
      victim = (workers - [survivor]).first
      waiting = Array.new(5) { server.connect.tap { |one| one.request("GET", "/pid") } }
      expect(client.read_response.status).to eq(502)
      expect_end(victim)
      expect(waiting.map { |one| one.read_response.status }).to all(eq(200))
      open_gate(other_gate, server: server)
      expect(other.read_response).to have_attributes(status: 200, body: "held by #{survivor}")
      expect(settled(2, server)["workers"].map { |worker| worker["pid"] }).to include(survivor)
      expect(server.log).to match(/killing an application process.* worker=#{victim} reason=hard_memory_limit/)
      server.stop
    ensure
      [client, other, *waiting].compact.each(&:close)
    end
  end
end
