# frozen_string_literal: true

# Work between requests: a response with !~Request-OOB-Work asks for it, PhusionPassenger.on_event(:oob_work) does it.
RSpec.describe "out-of-band work" do
  include Harness::Pool

  # Work that says when it begins and ends, that is held up as long as there is a file `held`, and fails if there is `failing`.
  WORK = <<~RUBY
    PhusionPassenger.on_event(:oob_work) do
      PoolApp.note("begin \#{Process.pid} \#{Thread.current == Thread.main}")
      raise "the work went wrong" if File.exist?(File.join(PoolApp::DIRECTORY, "failing"))
      sleep 0.01 while File.exist?(File.join(PoolApp::DIRECTORY, "held"))
      PoolApp.note("end \#{Process.pid}")
    end
  RUBY

  def marker(name)
    File.join(server.directory, name)
  end

  def with_marker(name)
    File.write(marker(name), "")
    yield
  ensure
    FileUtils.rm_f(marker(name))
  end

  def release
    File.delete(marker("held"))
  end

  def works(what, pid)
    events(what).count { |_, worker| worker.to_i == pid }
  end

  # Begun and ended: [["begin", pid], ["end", pid], ...] since the given number of events.
  def work_since(before)
    (events.drop(before)).select { |what, *| %w[begin end].include?(what) }.map { |what, pid, *| [what, pid.to_i] }
  end

  describe "with two workers" do
    serve "pool", max_pool_size: 2, min_instances: 2, files: { "boot.rb" => WORK }

    before { ready_workers(2) }

    # A response that asks for work, after that has been done: no example leaves any for the next one.
    def ask(path, method: "GET")
      gate = new_gate
      client = server.connect
      client.request(method, "#{path}&gate=#{gate}")
      pid = wait_until_entered(gate).first
      before = works("end", pid)
      open_gate(gate)
      client.read_response(to: method).tap { eventually("the work of process #{pid}") { works("end", pid) == before + 1 } }
    ensure
      client&.close
    end

    # What the header would be called, or a part of it.
    def traces(response)
      response.header_lines.map(&:first).grep(/oob|[!~]/i)
    end

    { "array" => 200, "each" => 200, "events" => 200, "stream" => 200, "file" => 200, "none" => 304 }.each do |body, status|
      it "is asked for by a header that the client does not get, with a body of the kind #{body}" do
        response = ask("/oob?body=#{body}")
        expect(traces(response)).to eq([])
        expect(response.status).to eq(status)
        expect(response.body).to match(/\A\d+\z/) unless %w[file none].include?(body)
      end
    end

    it "may be asked for in small letters, as Rack 3 writes headers, and for HEAD" do
      %w[HEAD GET].each { |method| expect(traces(ask("/oob?header=!~request-oob-work", method: method))).to eq([]) }
    end

    it "is done in the main thread of the worker that has asked, while the other one serves" do
      before = events.size
      with_marker("held") do
        pid = server.get("/oob").body.to_i
        eventually("its begin") { work_since(before) == [["begin", pid]] }
        expect(events("begin").last.last).to eq("true")
        expect(worker_status(pid)).to include("state" => "away")
        other = (server.workers - [pid]).first
        expect(Array.new(10) { server.get("/pid").body }).to all(eq(other.to_s))
        release
        eventually("its end") { work_since(before) == [["begin", pid], ["end", pid]] }
        expect(facts_of_all(2).map { |fact| fact["pid"] }).to contain_exactly(pid, other)
      end
    end

    it "is done in one worker at a time" do
      before = events.size
      with_marker("held") do
        gate = new_gate
        clients = Array.new(2) { hold(gate, path: "/oob") }
        wait_until_entered(gate, 2)
        open_gate(gate)
        pids = clients.map { |client| client.read_response.body.to_i }
        expect(pids.uniq.size).to eq(2)
        first = eventually("the first begin") { work_since(before).first }.last
        second = (pids - [first]).first
        # It serves, although it has work to do, too.
        expect(Array.new(10) { server.get("/pid").body }).to all(eq(second.to_s))
        expect(work_since(before)).to eq([["begin", first]])
        release
        eventually("the work of both") { work_since(before).size == 4 }
        expect(work_since(before)).to eq([["begin", first], ["end", first], ["begin", second], ["end", second]])
      ensure
        clients&.each(&:close)
      end
    end

    it "that raises is logged, and the worker serves on" do
      pids = server.workers
      pid = nil
      with_marker("failing") do
        pid = server.get("/oob").body.to_i
        eventually("the log") { server.log.include?("the work went wrong") }
      end
      expect(ready_workers(2)).to match_array(pids)
      expect(server.log).to match(/:oob_work.*failed/)
      before = pids.to_h { |one| [one, works("end", one)] }
      gate = new_gate
      clients = Array.new(2) { hold(gate, path: "/oob") }
      expect(wait_until_entered(gate, 2)).to match_array(pids)
      open_gate(gate)
      clients.each(&:read_response)
      pids.each { |one| eventually("the next work of process #{one}") { works("end", one) == before[one] + 1 } }
    ensure
      clients&.each(&:close)
    end

    it "in a worker that is killed is forgotten" do
      before = events.size
      with_marker("held") do
        pid = server.get("/oob").body.to_i
        eventually("its begin") { work_since(before) == [["begin", pid]] }
        kill(pid)
        expect(ready_workers(2)).not_to include(pid)
      end
      expect(ask("/oob?body=array").status).to eq(200)
      expect_no_zombies
    end
  end

  describe "that many requests ask for at once" do
    serve "pool", max_pool_size: 2, min_instances: 2, files: { "boot.rb" => WORK }

    it "costs no request, and can be asked for again" do
      pids = ready_workers(2)
      outcomes = Harness::Load.during(server, "/oob", connections: 6) { |load| load.wait_for(200) }
      expect(outcomes.map(&:kind).tally.keys).to eq([200])
      eventually("the end of all work") { events("end").any? && admin.status["workers"].all? { |worker| worker["state"] == "ready" } }
      before = pids.to_h { |pid| [pid, works("end", pid)] }
      gate = new_gate
      clients = Array.new(2) { hold(gate, path: "/oob") }
      expect(wait_until_entered(gate, 2)).to match_array(pids)
      open_gate(gate)
      clients.each(&:read_response)
      pids.each { |pid| eventually(-> { "more work of process #{pid}, beyond #{before}" }) { works("end", pid) > before[pid] } }
    ensure
      clients&.each(&:close)
    end
  end

  describe "with a single worker" do
    serve "pool", max_pool_size: 1, thread_count: 2, files: { "boot.rb" => WORK }

    before { ready_workers(1) }

    it "waits for requests that have begun, and lets others wait for it" do
      gate = new_gate
      client = hold(gate)
      pid = wait_until_entered(gate).first
      before = events.size
      with_marker("held") do
        expect(server.get("/oob").body).to eq(pid.to_s)
        eventually("its being away") { worker_status(pid)["state"] == "away" }
        waiting = Array.new(5) { server.connect.tap { |one| one.request("GET", "/pid") } }
        eventually("five requests that wait") { admin.status["queue"]["waiting"] == 5 }
        expect(work_since(before)).to eq([])
        open_gate(gate)
        expect(client.read_response.body).to eq("held by #{pid}")
        eventually("its begin") { work_since(before) == [["begin", pid]] }
        expect(admin.status["queue"]["waiting"]).to eq(5)
        release
        expect(waiting.map { |one| one.read_response.body }).to all(eq(pid.to_s))
        expect(work_since(before)).to eq([["begin", pid], ["end", pid]])
      ensure
        waiting&.each(&:close)
      end
    ensure
      client&.close
    end

    it "does not keep the server from stopping" do
      other = start_server(pool_app("boot.rb" => WORK), max_pool_size: 1, shutdown_timeout: 1)
      File.write(File.join(other.directory, "held"), "")
      other.get("/oob")
      eventually("its begin") { events("begin", server: other).any? }
      other.stop
    end
  end

  describe "that collects garbage, with the middleware that comes along" do
    serve "pool", max_pool_size: 1, files: { "boot.rb" => <<~RUBY }
      if defined?(PhusionPassenger)
        PhusionPassenger.require_passenger_lib "rack/out_of_band_gc"
        use PhusionPassenger::Rack::OutOfBandGc, 5
      end
      # From now on nothing else collects any.
      PhusionPassenger.on_event(:starting_worker_process) { GC.disable }
      PhusionPassenger.on_event(:oob_work) { PoolApp.note("before_it \#{GC.count} \#{GC.disable}") }
    RUBY

    before { ready_workers(1) }

    it "is done after every fifth request" do
      counts = Array.new(5) do
        response = server.get("/facts")
        expect(response.header_lines.map(&:first).grep(/oob/)).to eq([])
        response.json["collections"]
      end
      expect(counts.uniq.size).to eq(1)
      expect(eventually("the work") { events("before_it").first }).to eq(["before_it", counts.last.to_s, "true"])
      expect(Array.new(4) { server.get("/facts").json["collections"] }).to all(eq(counts.last + 1))
      expect(events("before_it").size).to eq(1)
      server.get("/facts")
      # What the application has set has stayed: GC.disable says true when it was disabled already.
      expect(eventually("the next work") { events("before_it")[1] }).to eq(["before_it", (counts.last + 1).to_s, "true"])
    end
  end
end
