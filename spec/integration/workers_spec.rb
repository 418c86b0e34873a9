# frozen_string_literal: true

# What the admin socket tells of single processes, and lets be done with them.
RSpec.describe "application processes on the admin socket" do
  include Harness::Pool

  serve "pool", max_pool_size: 2, min_instances: 2

  before { ready_workers(2) }

  def detach(pid)
    admin.post("/workers/detach", JSON.generate(pid: pid))
  end

  def backtrace(pid)
    admin.post("/workers/backtrace", JSON.generate(pid: pid))
  end

  describe "in the status" do
    it "have what they are, and since when" do
      worker = worker_status(server.workers.first)
      expect(worker).to include("state" => "ready", "retiring" => "", "generation" => 1, "slots" => 1, "working" => 0, "current" => [],
                                "uptime" => a_kind_of(Integer), "start_ms" => a_kind_of(Integer), "cpu_percent" => a_kind_of(Numeric),
                                "started_at" => /\A\d{4}-\d\d-\d\dT[\d:.]+Z\z/)
      expect(worker["start_ms"]).to be >= 0
      expect(admin.status["workers"].map { |one| one["id"] }).to all(be_between(1, (1 << 32) - 1))
      expect(admin.status["workers"].map { |one| one["id"] }.uniq.size).to eq(2)
    end

    it "have their memory, read from the kernel" do
      pid = server.workers.first
      memory = eventually("the figures") do
        figures = worker_status(pid)["memory"]
        figures if figures["pss"].positive?
      end
      # Shared pages are counted in part, and not at all.
      expect(memory["rss"]).to be_between(memory["pss"], 1 << 30)
      expect(memory["pss"]).to be >= memory["private_dirty"]
      expect(memory["private_dirty"]).to be > 0
      expect(memory["swap"]).to be >= 0
      expect(memory["rss"]).to be_within(64 << 20).of(Harness::ProcFS.resident_bytes(pid))
    end

    it "have the request that they work on, and its age, which grows" do
      gate = new_gate
      client = hold(gate)
      pid = wait_until_entered(gate).first
      other = (server.workers - [pid]).first
      first = worker_status(pid)
      expect(first).to include("working" => 1, "current" => [a_hash_including("slot" => a_kind_of(Integer), "request" => /\A\h+\z/)])
      expect(worker_status(other)).to include("working" => 0, "current" => [])
      later = eventually("a greater age") do
        status = worker_status(pid)
        status if status["current"].first["age_ms"] > first["current"].first["age_ms"]
      end
      expect(later["current"].first["request"]).to eq(first["current"].first["request"])
      open_gate(gate)
      expect(client.read_response.status).to eq(200)
      eventually("its end") { worker_status(pid).values_at("working", "requests", "current") == [0, first["requests"] + 1, []] }
    ensure
      client&.close
    end
  end

  describe "that are detached" do
    it "finish what they have begun, while another one takes their place" do
      gate = new_gate
      client = hold(gate)
      pid = wait_until_entered(gate).first
      expect(detach(pid)).to have_attributes(status: 200, json: { "status" => "ok" })
      successors = eventually("two others that serve") do
        others = admin.status["workers"].select { |worker| worker["state"] == "ready" && worker["pid"] != pid }
        others.map { |worker| worker["pid"] } if others.size == 2
      end
      # A successor has to last for a moment first.
      eventually("its leaving") { worker_status(pid)["state"] == "leaving" }
      expect(worker_status(pid)).to include("retiring" => "detached", "working" => 1)
      expect(facts_of_all(2).map { |fact| fact["pid"] }).to match_array(successors)
      open_gate(gate)
      expect(client.read_response).to have_attributes(status: 200, body: "held by #{pid}")
      eventually("its end") { !Harness::ProcFS.alive?(pid) }
      expect(ready_workers(2)).to match_array(successors)
      expect(events("stopping")).to include(["stopping", pid.to_s])
      expect_no_zombies
    ensure
      client&.close
    end

    it "under load lose no request" do
      outcomes = Harness::Load.during(server, connections: 4) do |load|
        3.times do
          load.wait_for(50)
          pid = ready_workers(2).first
          expect(detach(pid).status).to eq(200)
          eventually("its end") { !Harness::ProcFS.alive?(pid) }
        end
      end
      expect(outcomes.map(&:kind).tally.keys).to eq([200])
    end
  end

  it "that don't exist are 404, and the message names them" do
    strangers = [server.pid, server.preloader, Process.pid, (1 << 22) + 1]
    [:detach, :backtrace].product(strangers).each do |command, pid|
      expect(send(command, pid)).to have_attributes(status: 404, json: { "status" => "error", "message" => /#{pid}/ })
    end
    expect(server.preloader).to be_a(Integer)
  end

  it "are not found by bodies that don't name one" do
    ["/workers/detach", "/workers/backtrace"].each do |path|
      { "" => //, "{}" => /pid/, "[1]" => //, "{" => //, '{"pid":"1"}' => /pid/, '{"pid":-1}' => /pid/, '{"pid":1.5}' => /pid/,
        '{"pid":null}' => /pid/, '{"pid":0}' => //, '{"worker":1}' => /worker.*pid/, '{"pid":1,"signal":9}' => /signal/ }.each do |body, message|
        response = admin.post(path, body)
        expected = body == '{"pid":0}' ? be_between(400, 404) : eq(400)
        expect(response.status).to expected, "#{path} #{body}: #{response.inspect}"
        expect(response.json).to include("status" => "error", "message" => message)
      end
      expect(admin.get(path)).to have_attributes(status: 405)
      expect(admin.get(path)["allow"]).to eq("POST")
    end
    expect(ready_workers(2)).to match_array(server.workers)
  end

  describe "that are asked where they are" do
    # The line of the application in which a request waits.
    def place
      lines = File.readlines(File.join(Harness::Apps::SOURCE, "pool.ru"))
      "config.ru:#{lines.index { |line| line.include?("the spec looks for this line") } + 1}:"
    end

    it "name file and line of a request that hangs" do
      gate = new_gate
      client = server.connect.tap { |one| one.request("GET", "/stuck?at=#{gate}") }
      pid = wait_until_entered(gate).first
      response = backtrace(pid)
      expect(response).to have_attributes(status: 200, body: a_string_including(place, "stuck_in_the_application"))
      expect(response["content-type"]).to start_with("text/plain")
      expect(response.body).to match(/^slot \d+: thread \S/)
      other = (server.workers - [pid]).first
      expect(backtrace(other)).to have_attributes(status: 200, body: /\A(?!.*stuck_in_the_application)slot \d+/m)
      open_gate(gate)
      expect(client.read_response.body).to eq("no longer stuck")
      expect(worker_status(pid)).to include("state" => "ready")
    ensure
      client&.close
    end

    it "and don't answer are 504, and serve on when they can" do
      pid = server.workers.first
      Process.kill(:STOP, pid)
      expect(backtrace(pid)).to have_attributes(status: 504, json: { "status" => "error", "message" => /does not answer/ })
      Process.kill(:CONT, pid)
      expect(backtrace(pid)).to have_attributes(status: 200, body: /\Aslot \d+: thread/)
      expect(facts_of_all(2).map { |fact| fact["pid"] }).to include(pid)
    ensure
      Process.kill(:CONT, pid)
    end
  end
end
