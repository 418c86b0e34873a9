# frozen_string_literal: true

# --refork-after: a worker that has served for a while becomes the preloader of the next ones.
RSpec.describe "reforking" do
  include Harness::Pool

  REFORK_AFTER = 20

  def start(**options)
    start_server(pool_app("version" => "first"), refork_after: REFORK_AFTER, max_pool_size: 3, min_instances: 3, **options)
      .tap { |server| ready_workers(options.fetch(:min_instances, 3), server: server) }
  end

  def generation(server)
    admin(server).status["generation"]["number"]
  end

  def wait_for_generation(number, server)
    eventually(-> { "generation #{number}, there are #{admin(server).status["generations"]}" }, within: 30) { generation(server) >= number }
  end

  # Waits until no worker is near its next refork, which may take further requests and further reforks.
  def wait_for_quiet(count, server)
    eventually(-> { "end of reforking, there are #{admin(server).status["workers"]}" }, within: 30) do
      status = admin(server).status
      workers = status["workers"]
      settled = workers.all? { |worker| settled?(worker) && worker["requests"] < REFORK_AFTER / 2 }
      quiet = settled && workers.size == count && status["generations"].size == 1
      server.get("/pid") unless quiet
      quiet
    end
  end

  # A few keep-alive clients; none of their requests may fail.
  def under_load(server, path = "/pid", &block)
    outcomes = Harness::Load.during(server, path, connections: 4, &block)
    expect(outcomes.map(&:kind).tally.keys).to eq([200])
    outcomes
  end

  # The workers, of all generations, that have ended and what they have done at that: each of it once, and in its own process.
  def expect_orderly_ends(server)
    started = events("starting", server: server).map { |_, pid, _| pid }
    stopped = events("stopping", server: server).map(&:last)
    expect(stopped).to match_array(started)
    at_exit = events("at_exit", server: server).map(&:last)
    expect(at_exit.tally.values.uniq).to eq([1])
    expect(at_exit).to include(*started)
    expect(events("own_at_exit", server: server).map { |_, *pids| pids }).to match_array(started.map { |pid| [pid, pid] })
  end

  it "makes a warm worker the preloader of the next ones, again and again, without losing a request" do
    server = start
    first = server.workers
    under_load(server) { wait_for_generation(3, server) }
    wait_for_quiet(3, server)
    facts = facts_of_all(3, server: server)
    expect(facts.map { |fact| fact["pid"] }).to match_array(server.workers)
    # Loaded once, by the very first preloader; the processes of now are forks of forks of it.
    expect(boots(server: server).size).to eq(1)
    expect(facts.map { |fact| fact["loading"] }.uniq.size).to eq(1)
    expect(facts.map { |fact| fact["loaded_by"] }).to all(eq(boots(server: server).first))
    # What their ancestors have put into a Hash while they served: one of each generation.
    ancestors = facts.map { |fact| fact["memory"].reject { |pid, _| pid.to_i == fact["pid"] } }
    expect(ancestors.uniq.size).to eq(1)
    expect(ancestors.first.size).to be >= 2
    expect(ancestors.first.keys.first.to_i).to satisfy("be one of the first workers") { |pid| first.include?(pid) }
    expect(ancestors.first.values).to all(be >= REFORK_AFTER)
    # The preloader's parent has left, so the server is it now.
    expect(facts.map { |fact| fact["ppid"] }).to all(eq(server.preloader))
    expect(Harness::ProcFS.parent(server.preloader)).to eq(server.pid)
    expect(admin(server).status["generation"]["preloader"]).to eq(server.preloader)
    expect(server.processes.size).to eq(4)
    expect(server.log.lines.grep(/ error\] /)).to eq([])
    expect_no_zombies(server: server)
    server.stop
    expect_orderly_ends(server)
  end

  it "goes together with rolling restarts: the new code is loaded, and is what is forked from then on" do
    server = start(rolling_restarts: true)
    outcomes = under_load(server, "/version") do |load|
      wait_for_generation(2, server)
      Harness::Apps.write(server.directory, "version", "second")
      touch_restart_file(server: server)
      eventually("the loading of the new code") { boots(server: server).size == 2 }
      eventually("the new code in the status") { admin(server).status["restart"]["count"] >= 2 }
      wait_for_generation(generation(server) + 1, server)
      load.wait_for(100)
    end
    wait_for_quiet(3, server)
    workers = facts_of_all(3, server: server)
    expect(workers.map { |fact| fact["version"] }.uniq).to eq(["second"])
    expect(workers.map { |fact| fact["loaded_by"] }.uniq).to eq([boots(server: server).last])
    expect(boots(server: server).size).to eq(2)
    expect(outcomes.map(&:detail).uniq).to eq(%w[first second])
    expect_no_zombies(server: server)
    server.stop
    expect_orderly_ends(server)
  end

  describe "from a worker" do
    # Its one thread is held, the other one finishes as many requests as it takes: so it has to wait for the first.
    def promote_while_held(server)
      gate = new_gate
      client = hold(gate, server: server)
      worker = wait_until_entered(gate, server: server).first
      server.connect { |other| (REFORK_AFTER + 1).times { expect(other.get("/pid").status).to eq(200) } }
      eventually("its leaving") { worker_status(worker, server: server)&.values_at("state", "retiring") == %w[leaving refork_after] }
      yield gate, client, worker
    ensure
      client&.close
    end

    it "that still has a request lets that finish first" do
      server = start(max_pool_size: 1, min_instances: 1, thread_count: 2)
      promote_while_held(server) do |gate, client, worker|
        expect(generation(server)).to eq(1)
        # A thread that was waiting for a request may have got one before it heard of it.
        eventually("its successor") { server.get("/pid").body.to_i != worker }
        open_gate(gate, server: server)
        expect(client.read_response).to have_attributes(status: 200, body: "held by #{worker}")
        wait_for_generation(2, server)
        heirs = facts_of_all(1, server: server)
        expect(heirs.first["memory"]).to include(worker.to_s => a_value >= REFORK_AFTER)
        expect(boots(server: server).size).to eq(1)
      end
      expect_no_zombies(server: server)
      server.stop
      expect_orderly_ends(server)
    end

    it "that is killed meanwhile leaves the old generation serving, and the pool whole" do
      server = start(max_pool_size: 1, min_instances: 1, thread_count: 2)
      promote_while_held(server) do |_gate, client, worker|
        kill(worker)
        expect(client.read_response.status).to eq(502)
        eventually("the reason in the log") { server.log.match?(/could not become a preloader/) }
        expect(ready_workers(1, server: server)).not_to include(worker)
        expect(server.get("/version").body).to eq("first")
        expect(admin(server).status).to include("state" => "serving", "generations" => [a_hash_including("number" => 1)])
      end
      expect_no_zombies(server: server)
      server.stop
    end

    it "and then killed itself is followed by a preloader that loads the application" do
      server = start(min_instances: 2, max_pool_size: 2)
      under_load(server) { wait_for_generation(2, server) }
      wait_for_quiet(2, server)
      current = generation(server)
      victim, survivor = server.workers
      kill(server.preloader)
      kill(victim)
      expect(ready_workers(2, server: server)).to include(survivor)
      expect(boots(server: server).size).to eq(2)
      expect(generation(server)).to eq(current)
      expect_no_zombies(server: server)
      server.stop
    end
  end

  it "is refused together with direct spawning, where nothing is forked" do
    argv = Harness::PassengerServer.command("start", "--refork-after", 5, "--spawn-method", "direct", "--address", "127.0.0.1",
                                            "--port", Harness::Server.free_port)
    expect(run_command(argv, directory: pool_app)).to be_one_line_error.naming("refork-after").naming("spawn-method direct")
  end
end
