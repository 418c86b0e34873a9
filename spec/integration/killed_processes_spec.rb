# frozen_string_literal: true

# kill -9 of any one process while 16 connections are busy: nothing hangs, only the victim's requests fail, nothing is left.
RSpec.describe "kill -9 under load" do
  def start
    start_server(Harness::Apps.directory("control"), max_pool_size: 2, min_instances: 2).tap do |server|
      eventually("two workers") { server.workers.size == 2 }
    end
  end

  # What may happen to a request of a process that is killed: 502, or, when its answer has begun, an end in the middle.
  # Anything else, and above all no answer at all, is a defect.
  def expect_failures(outcomes, at_most:)
    failed = outcomes.reject { |outcome| outcome.kind == 200 }
    expect(failed.map(&:kind) - [502, :cut]).to eq([])
    expect(failed.size).to be <= at_most, failed.inspect
  end

  def kinds(outcomes)
    outcomes.map(&:kind).tally
  end

  it "of a worker fails at most its own request, with 502" do
    server = start
    victim = server.workers.first
    outcomes = Harness::Load.during(server) do |load|
      load.wait_for(200)
      Process.kill(:KILL, victim)
      load.wait_for(200)
      eventually("a new worker") { server.workers.size == 2 && !server.workers.include?(victim) }
      load.wait_for(200)
    end
    expect_failures(outcomes, at_most: 1)
    server.stop
  end

  it "of a worker with several threads fails at most the requests of its threads" do
    server = start_server(Harness::Apps.directory("control"), max_pool_size: 2, min_instances: 2, thread_count: 4)
    eventually("two workers") { server.workers.size == 2 }
    victim = server.workers.first
    outcomes = Harness::Load.during(server) do |load|
      load.wait_for(200)
      Process.kill(:KILL, victim)
      load.wait_for(400)
    end
    expect_failures(outcomes, at_most: 4)
    server.stop
  end

  it "of all workers, one after the other, fails one request each" do
    server = start
    victims = server.workers
    outcomes = Harness::Load.during(server) do |load|
      victims.each do |victim|
        load.wait_for(100)
        Process.kill(:KILL, victim)
      end
      load.wait_for(300)
    end
    expect_failures(outcomes, at_most: victims.size)
    server.stop
  end

  it "of the preloader fails nothing, and workers can still be replaced" do
    server = start
    preloader = server.preloader
    victim = nil
    outcomes = Harness::Load.during(server) do |load|
      load.wait_for(200)
      Process.kill(:KILL, preloader)
      load.wait_for(200)
      victim = server.workers.first || server.get("/pid").body.to_i
      Process.kill(:KILL, victim)
      load.wait_for(200)
      eventually(-> { "a new worker of a new preloader, there are #{server.processes.map { |pid| Harness::ProcFS.describe(pid) }}" }) do
        server.workers.size == 2 && !server.workers.include?(victim) && server.preloader
      end
    end
    expect(server.preloader).not_to eq(preloader)
    expect_failures(outcomes, at_most: 1)
    server.stop
  end

  it "of the server ends all connections and all processes" do
    server = start
    family = server.processes
    outcomes = Harness::Load.during(server) do |load|
      load.wait_for(200)
      server.signal(:KILL)
      eventually("end of the load") { load.ended? }
    end
    expect(kinds(outcomes).keys - [200, :cut, :refused]).to eq([])
    eventually(-> { "end of #{family.map { |pid| Harness::ProcFS.describe(pid) }}" }) do
      family.none? { |pid| Harness::ProcFS.alive?(pid) }
    end
    expect(server.wait.termsig).to eq(9)
    expect(server).not_to be_reachable
  end

  it "of the server ends workers that are in the middle of a request" do
    server = start
    gate = new_gate
    client = hold(gate, server: server)
    wait_until_entered(gate, server: server)
    family = server.processes
    server.signal(:KILL)
    server.wait
    expect { client.read_response }.to raise_error(Harness::HTTPClient::ConnectionEnded)
    eventually("end of the workers") { family.none? { |pid| Harness::ProcFS.alive?(pid) } }
  ensure
    client&.close
  end
end
