# frozen_string_literal: true

RSpec.describe "an application that fails" do
  describe "in development" do
    serve "control", max_pool_size: 2, min_instances: 2

    def failing_line
      File.readlines(File.join(Harness::Apps::SOURCE, "control.ru")).index { |line| line.include?('when "/raise" ') } + 1
    end

    it "by raising gives 500 with what the developer needs to know" do
      response = server.get("/raise?message=first+problem")
      expect(response.status).to eq(500)
      expect(response["content-type"]).to match(%r{\Atext/html})
      expect(response.body).to include("ArgumentError", "first problem", "config.ru:#{failing_line}")
    end

    it "cannot put markup on the error page" do
      expect(server.get("/raise?message=%3Cscript%3Ealert%281%29%3C%2Fscript%3E").body).not_to include("<script>alert")
    end

    it "is logged with class, message, backtrace, the id of the request and that of the process" do
      server.get("/raise?message=logged+problem", "X-Request-Id" => "spec-7f3a")
      entry = eventually("the entry in the log") { server.said[/^.*ArgumentError.*\n(?:  .*\n)*.*logged problem\n(?:  .*\n)+/] }
      expect(entry).to include("ArgumentError: logged problem", "config.ru:#{failing_line}", "spec-7f3a")
      expect(server.workers.map(&:to_s)).to include(entry[/process (\d+)/, 1])
    end

    it "shows the same request id on the page and in the log when the client has sent none" do
      body = server.get("/raise?message=unnumbered").body
      id = body[/request (\h+)/, 1]
      expect(id).to be_a(String)
      eventually("the entry in the log") { server.said.match?(/request #{id}\b/) }
    end

    it "goes on with the same processes after ordinary exceptions" do
      before = eventually("two workers") { server.workers.sort.then { |pids| pids if pids.size == 2 } }
      10.times { expect(server.get("/raise?message=again").status).to eq(500) }
      expect(server.get("/raise-fatal?message=not+implemented").status).to eq(500)
      expect(server.workers.sort).to eq(before)
    end

    it "by exiting in a request answers this one with an error, and a new worker takes its place" do
      before = server.workers
      expect(server.get("/exit").status).to be_between(500, 502)
      eventually("a new worker") { (server.workers - before).any? && server.workers.size == 2 }
      expect(server.get("/pid").status).to eq(200)
    end

    it "writes to the log through standard output, standard error and rack.errors" do
      server.get("/say?text=marked-line")
      %w[stdout stderr rack.errors].each do |way|
        eventually("the line from #{way}") { server.log.include?("#{way} marked-line") }
      end
    end
  end

  describe "in production" do
    serve "control", max_pool_size: 1, environment: { "RACK_ENV" => "production" }

    it "gives 500 and tells the visitor a request id, and nothing else" do
      response = server.get("/raise?message=internal+detail")
      expect(response.status).to eq(500)
      expect(response.body).not_to include("internal detail", "ArgumentError", "config.ru", server.directory)
      id = response.body[/request (\h+)/, 1]
      eventually("the entry in the log") { server.said.match?(/request #{id}\b/) && server.said.include?("internal detail") }
    end

    it "is not cached anywhere" do
      expect(server.get("/raise?message=x")["cache-control"]).to include("no-store")
    end
  end

  describe "by dying" do
    serve "control", max_pool_size: 2, min_instances: 2

    before { eventually("two workers") { server.workers.size == 2 } }

    def log_since(length)
      server.said[length..] || ""
    end

    it "in a request gives exactly this request 502, and a new worker takes over" do
      gate = new_gate
      clients = [hold(gate), hold(gate)]
      victim, survivor = wait_until_entered(gate, 2)
      expect(victim).not_to eq(survivor)
      Process.kill(:KILL, victim)
      open_gate(gate)
      responses = clients.map(&:read_response)
      expect(responses.map(&:status)).to contain_exactly(200, 502)
      expect(responses.find { |response| response.status == 200 }.body).to eq("held by #{survivor}")
      eventually("a new worker") { server.workers.size == 2 && !server.workers.include?(victim) }
      expect(server.workers).to include(survivor)
    ensure
      clients&.each(&:close)
    end

    it "leaves the connection usable and the reason in the log" do
      said = server.said.length
      server.connect do |client|
        expect(client.get("/die").status).to eq(502)
        expect(client.get("/anything").body).to eq("GET /anything")
      end
      eventually("the reason in the log") { log_since(said).match?(/signal 9|SIGKILL|killed/i) }
    end

    it "in the middle of a body cuts the connection off" do
      gate = new_gate
      client = hold(gate, path: "/hold-body")
      Process.kill(:KILL, wait_until_entered(gate).first)
      expect { client.read_response }.to raise_error(Harness::HTTPClient::ConnectionEnded)
    ensure
      client&.close
    end

    it "while idle is noticed, and a new worker takes over" do
      victim = server.workers.first
      Process.kill(:KILL, victim)
      eventually("a new worker") { server.workers.size == 2 && !server.workers.include?(victim) }
      20.times { expect(server.get("/pid").status).to eq(200) }
    end

    it "again and again is replaced each time" do
      5.times do
        expect(server.get("/die").status).to eq(502)
        expect(server.get("/pid").status).to eq(200)
      end
      eventually("the full pool") { server.workers.size == 2 }
    end

    it "by TERM from outside finishes its request first" do
      gate = new_gate
      client = hold(gate)
      victim = wait_until_entered(gate).first
      Process.kill(:TERM, victim)
      open_gate(gate)
      expect(client.read_response.body).to eq("held by #{victim}")
      eventually("a new worker") { server.workers.size == 2 && !server.workers.include?(victim) }
    ensure
      client&.close
    end
  end

  describe "to keep up" do
    serve "control", max_pool_size: 1, thread_count: 1, max_request_queue_size: 5

    it "lets a bounded number of requests wait, refuses others with 503, and serves those that waited" do
      gate = new_gate
      clients = [hold(gate)]
      wait_until_entered(gate)
      # Far more than may wait. Whether the engine counts the one that is next at the worker is its own affair.
      waiting = Array.new(30) { server.connect.tap { |client| client.request("GET", "/waited") } }
      refused = eventually("answers to those that may not wait") do
        ready = waiting.select { |client| client.socket.wait_readable(0) }
        ready if ready.size >= 20
      end
      expect(refused.map { |client| client.read_response.status }).to all(eq(503))
      open_gate(gate)
      expect(clients.first.read_response.status).to eq(200)
      expect((waiting - refused).map { |client| client.read_response.status }).to all(eq(200).or(eq(503)))
      expect((waiting - refused).size).to be_between(1, 10)
    ensure
      [*clients, *waiting].each(&:close)
    end
  end
end
