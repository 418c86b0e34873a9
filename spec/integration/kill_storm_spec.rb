# frozen_string_literal: true

# Workers that are killed one after the other while the server is under load.
RSpec.describe "kill -9 of workers, again and again," do
  include Harness::Pool

  KILLS = 12

  def descriptors(server)
    Harness::ProcFS.descriptors(server.pid).values.map { |name| name[/\A[^\[]+/] }.tally
  end

  # A victim each time when all are there, so that the load never finds an empty pool; which one is a matter of chance.
  def storm(server, workers)
    random = Random.new(RSpec.configuration.seed)
    KILLS.times.map do
      pids = ready_workers(workers, server: server)
      pids[random.rand(pids.size)].tap do |victim|
        kill(victim)
        yield
      end
    end
  end

  { "one thread" => 1, "three threads" => 3 }.each do |name, threads|
    it "with #{name} each costs no more than what it worked on, and leaves nothing behind" do
      server = start_server(pool_app, max_pool_size: 3, min_instances: 3, thread_count: threads)
      ready_workers(3, server: server)
      # So that every descriptor that the server needs under load is there when they are counted first.
      Harness::Load.during(server, connections: 8) { |load| load.wait_for(100) }
      before = eventually("quiet") { [descriptors(server), (sleep 0.05) && descriptors(server)].then { |one, two| one if one == two } }
      outcomes = Harness::Load.during(server, connections: 8) do |load|
        load.wait_for(50)
        storm(server, 3) { load.wait_for(50) }
        ready_workers(3, server: server)
        load.wait_for(50)
      end
      failed = outcomes.reject { |outcome| outcome.kind == 200 }
      expect(failed.map(&:kind) - [502, :cut]).to eq([])
      expect(failed.size).to be <= KILLS * threads, failed.inspect
      expect(facts_of_all(3 * threads, server: server).map { |fact| fact["pid"] }.uniq).to match_array(server.workers)
      expect(boots(server: server).size).to eq(1)
      expect(server.processes).to match_array([server.preloader, *server.workers])
      expect_no_zombies(server: server)
      eventually(-> { "return of the descriptors #{before}, there are #{descriptors(server)}" }) do
        descriptors(server).values.sum <= before.values.sum
      end
      server.stop
    end
  end

  it "with the preloader among them is survived all the same" do
    server = start_server(pool_app, max_pool_size: 3, min_instances: 3)
    ready_workers(3, server: server)
    kills = 4
    outcomes = Harness::Load.during(server, connections: 8) do |load|
      kills.times do
        victim = ready_workers(3, server: server).first
        kill(eventually("a preloader") { server.preloader })
        kill(victim)
        load.wait_for(50)
      end
      ready_workers(3, server: server)
    end
    failed = outcomes.reject { |outcome| outcome.kind == 200 }
    expect(failed.map(&:kind) - [502, :cut]).to eq([])
    expect(failed.size).to be <= kills, failed.inspect
    expect(boots(server: server).size).to eq(kills + 1)
    expect_no_zombies(server: server)
    server.stop
  end
end
