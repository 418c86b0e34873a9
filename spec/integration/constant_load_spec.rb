# frozen_string_literal: true

require_relative "../support/pooling"

# What happens to the pool is never a matter of the clients: connections that are kept alive and always busy see nothing but 200
# while new code comes, good and bad, and while workers come and go.
RSpec.describe "constant load" do
  let(:server) do
    directory = Harness::Apps.directory("control", "version" => "0")
    start_server(directory, min_instances: 1, max_pool_size: 5, pool_idle_time: 1, max_requests: 50)
  end

  # More requests at once than the load has, held until each has its worker.
  def burst
    gate = new_gate
    clients = Array.new(3) { hold(gate) }
    wait_until_entered(gate, 3)
    open_gate(gate)
    expect(clients.map { |client| client.read_response.status }).to all(eq(200))
  ensure
    clients&.each(&:close)
  end

  def expect_new_code(number, method)
    deploy(number.to_s)
    post_restart(method)
    eventually("version #{number}") { version == number.to_s }
    eventually("the end of the restart") { !status["restart"]["active"] }
  end

  def expect_resistance(method, code)
    before = version
    deploy("broken", code: code)
    post_restart(method)
    eventually("the error in the status") { (current = status)["boot_error"] && !current["restart"]["active"] }
    expect(version).to eq(before)
  end

  # The server may count one request more than there are clients: one that is about to end beside the next of the same client.
  def expect_shrinkage
    eventually("a pool of no more than the load needs") { pool["target"] <= 4 }
  end

  it "of 3 connections has no failed request and no dropped connection in 5 restarts, growth, shrinkage, and with --max-requests" do
    outcomes = Harness::Load.during(server, "/version", connections: 3) do |load|
      load.wait_for(100)
      burst
      expect(pool["target"]).to eq(5)
      expect_new_code(1, "blocking")
      expect_resistance("rolling", "def broken(\n")
      expect_shrinkage
      burst
      expect_new_code(2, "rolling")
      expect_resistance("blocking", "PhusionPassenger.on_event(:starting_worker_process) { raise 'no database' }\n")
      expect_new_code(3, "rolling")
      expect_shrinkage
      load.wait_for(100)
    end
    expect(outcomes.map { |outcome| [outcome.kind, outcome.detail] }.tally.keys).to contain_exactly(*("0".."3").map { |text| [200, text] })
    expect(server.log.scan(/reason=max_requests/).size).to be > 5
    expect(status["restart"]["count"]).to eq(3)
    server.stop
  end
end
