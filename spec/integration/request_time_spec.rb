# frozen_string_literal: true

require_relative "../support/pooling"

RSpec.describe "--max-request-time" do
  # Where the application is said to be stuck.
  def line(text)
    File.readlines(File.join(Harness::Apps::SOURCE, "limits.ru")).index { |line| line.include?("# stuck in #{text}") } + 1
  end

  def request(path, server)
    server.connect.tap { |client| client.request("GET", path) }
  end

  def expect_end(pids)
    eventually(-> { "the end of #{pids.map { |pid| Harness::ProcFS.describe(pid) }}" }) { pids.none? { |pid| Harness::ProcFS.alive?(pid) } }
  end

  # The pids of the workers that have something to do.
  def busy(server)
    status(server)["workers"].select { |worker| worker["working"].positive? }.map { |worker| worker["pid"] }
  end

  it "answers with 504, tells where the processes are stuck, and replaces them, while others are served" do
    server = start_server(Harness::Apps.directory("limits"), min_instances: 6, max_pool_size: 6, max_request_time: 1)
    settled(6, server)
    gate = new_gate
    clients = [*%w[sleep loop extension].map { |how| request("/stuck?how=#{how}", server) }, hold(gate, server: server)]
    stream = request("/stream", server)
    victims = eventually("five busy workers") { busy(server).then { |pids| pids if pids.size == 5 } }
    outcomes = Harness::Load.during(server, connections: 2) do |load|
      expect(clients.map { |client| client.read_response.status }).to all(eq(504))
      expect { stream.read_response }.to raise_error(Harness::HTTPClient::ConnectionEnded)
      # One ends its request by itself, too late. Its client has had its answer, and the connection goes on.
      open_gate(gate, server: server)
      expect(clients.last.get("/pid").body.to_i).to satisfy("be another process") { |pid| !victims.include?(pid) }
      expect_end(victims)
      settled(6, server)
      load.wait_for(50)
    end
    expect(outcomes.map(&:kind).tally.keys).to eq([200])
    expect(pids(server) & victims).to eq([])
    expect(clients.last.stray_bytes).to eq("")
    %w[sleep loop].each { |how| expect(server.log).to match(/where the application hangs.*config\.ru:#{line(how)}:/m) }
    expect(server.log.scan(/request takes longer than max_request_time.*worker=(\d+)/).flatten.map(&:to_i)).to match_array(victims)
    # Neither the one that has come to an end nor the one that has heard that its client is to have no more.
    expect(server.log.scan(/killing an application process worker=(\d+) reason=max_request_time/).flatten.size).to be_between(3, 4)
    expect(status(server)["boot_error"]).to be_nil
    server.stop
  ensure
    [*clients, stream].compact.each(&:close)
  end

  it "lets the other threads of a process finish before it is killed" do
    limit = (2 * Harness::Deadline::FACTOR).ceil
    server = start_server(Harness::Apps.directory("limits"), max_pool_size: 1, thread_count: 2, max_request_time: limit)
    victim = settled(1, server)["workers"].first["pid"]
    stuck = request("/stuck?how=sleep", server)
    # The other request comes much later, so that its own time is not over when that of the first one is.
    eventually("a request that has taken long") do
      status(server)["workers"].first["current"].any? { |request| request["age_ms"] >= limit * 600 }
    end
    gate = new_gate
    other = hold(gate, server: server)
    expect(wait_until_entered(gate, server: server)).to eq([victim])
    expect(stuck.read_response.status).to eq(504)
    # A new worker is there while the old one still works.
    expect(server.get("/pid").body).not_to eq(victim.to_s)
    expect(status(server)["workers"]).to include(a_hash_including("pid" => victim, "state" => "leaving", "retiring" => "max_request_time"))
    open_gate(gate, server: server)
    expect(other.read_response).to have_attributes(status: 200, body: "held by #{victim}")
    expect_end([victim])
    settled(1, server)
    backtrace = server.log[/where the application hangs.*?(?=^\[|\z)/m]
    expect(backtrace).to include("config.ru:#{line("sleep")}:").and include("passenger slot")
    expect(backtrace.scan(/^\s*slot \d+:|slot \d+: thread/).size).to eq(1)
    server.stop
  ensure
    [stuck, other].compact.each(&:close)
  end
end
