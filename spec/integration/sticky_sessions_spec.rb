# frozen_string_literal: true

# --sticky-sessions: the worker that has answered a client first gets all of its requests.
RSpec.describe "sticky sessions" do
  include Harness::Pool

  NAME = "_passenger_route"

  # The server's cookies in a response: [[name=value, attribute, ...], ...]
  def route_cookies(response, name: NAME)
    response.all("set-cookie").map { |line| line.split(/; */) }.select { |pair, *| pair.start_with?("#{name}=") }
  end

  # The id in the one cookie that there is, nil if there is none.
  def route(response, name: NAME)
    cookies = route_cookies(response, name: name)
    expect(cookies.size).to be <= 1, response.inspect
    cookies.first&.first&.delete_prefix("#{name}=")
  end

  def ids(server: self.server)
    admin(server).status["workers"].to_h { |worker| [worker["pid"], worker["id"].to_s] }
  end

  def with(id)
    { "Cookie" => "#{NAME}=#{id}" }
  end

  def pid_for(id, server: self.server)
    response = server.get("/pid", **with(id))
    expect(response.status).to eq(200)
    expect(route(response)).to be_nil
    response.body.to_i
  end

  # A client of the given worker that keeps it busy.
  def hold_sticky(gate, id, server: self.server)
    server.connect.tap { |client| client.request("GET", "/hold?gate=#{gate}", **with(id)) }
  end

  # Requests that wait on connections of their own.
  def send_sticky(count, id, path = "/pid", server: self.server)
    Array.new(count) { server.connect.tap { |client| client.request("GET", path, **with(id)) } }
  end

  # A response that a client with the id of a worker that is no more gets: from another one, with that one's id.
  def expect_new_route(response, server: self.server)
    expect(response.status).to eq(200), response.inspect
    pid = response.body[/\d+/].to_i
    expect(route(response)).to eq(ids(server: server).fetch(pid))
    pid
  end

  describe "over three workers" do
    serve "pool", max_pool_size: 3, min_instances: 3, sticky_sessions: true

    before { ready_workers(3) }

    it "begin with a cookie that names the worker, for all paths, closed to scripts and not tied to https" do
      response = server.get("/pid")
      cookies = route_cookies(response)
      expect(cookies.size).to eq(1)
      pair, *attributes = cookies.first
      expect(pair).to eq("#{NAME}=#{ids.fetch(response.body.to_i)}")
      expect(attributes).to contain_exactly("Path=/", "SameSite=Lax", "HttpOnly")
    end

    it "go on without another cookie, in the same worker, over many connections and one" do
      ids.each do |pid, id|
        expect(Array.new(10) { pid_for(id) }).to all(eq(pid))
        server.connect do |client|
          10.times { expect(client.get("/pid", **with(id))).to have_attributes(status: 200, body: pid.to_s) }
        end
      end
    end

    it "of many clients at once don't get mixed up" do
      clients = Array.new(6) { Thread.new { server.connect { |client| visit(client, 40) } } }
      visits = clients.map(&:value)
      visits.each { |pids| expect(pids.uniq.size).to eq(1) }
      expect(visits.flatten.uniq - ids.keys).to eq([])
    end

    # One client's requests, with what it has got at first.
    def visit(client, count)
      first = client.get("/pid")
      id = route(first)
      [first.body.to_i] + Array.new(count) { client.get("/pid", **with(id)).body.to_i }
    end

    it "find the cookie among others, and no other one" do
      pid, id = ids.first
      expect(server.get("/pid", "Cookie" => "a=b; #{NAME}=#{id}; c=d")).to have_attributes(status: 200, body: pid.to_s)
      expect(server.get("/pid", "Cookie" => ["a=b", "#{NAME}=#{id}"])).to have_attributes(status: 200, body: pid.to_s)
      expect_new_route(server.get("/pid", "Cookie" => "my#{NAME}=#{id}; #{NAME}2=#{id}"))
    end

    ["1", "4294967295", "4294967296", "99999999999999999999", "-1", "0", "", "abc", "1; drop", "%31", '"7"', "\xff\xfe".b].each do |garbage|
      it "that begin with #{garbage.inspect} go anywhere, and get a new cookie" do
        expect_new_route(server.get("/pid", **with(garbage)))
      end
    end

    it "leave the application its own cookies" do
      response = server.get("/cookie")
      expect(response.all("set-cookie")).to include("visitor=somebody; path=/")
      expect(route(response)).to eq(ids.fetch(response.json["pid"]))
      again = server.get("/cookie", **with(route(response)))
      expect(again.all("set-cookie")).to eq(["visitor=somebody; path=/"])
    end

    it "wait for their worker while others are idle" do
      pid, id = ids.first
      gate = new_gate
      busy = hold_sticky(gate, id)
      expect(wait_until_entered(gate)).to eq([pid])
      waiting = send_sticky(8, id)
      others = Array.new(10) { server.get("/pid").body.to_i }
      expect(others.uniq).not_to include(pid)
      eventually("idleness of the others") { admin.status["workers"].sum { |worker| worker["working"] } == 1 }
      waiting.each { |client| expect(client.stray_bytes(0)).to eq("") }
      open_gate(gate)
      expect(busy.read_response.body).to eq("held by #{pid}")
      expect(waiting.map { |client| client.read_response.body.to_i }).to all(eq(pid))
    ensure
      [busy, *waiting].compact.each(&:close)
    end

    it "don't keep new clients from a worker that has many of them" do
      gate = new_gate
      everyone = ids.map { |_, id| hold_sticky(gate, id) }
      wait_until_entered(gate, 3)
      sticky = ids.flat_map { |_, id| send_sticky(15, id) }
      newcomer = server.connect.tap { |client| client.request("GET", "/pid") }
      open_gate(gate)
      expect_new_route(newcomer.read_response)
      expect((everyone + sticky).map { |client| client.read_response.status }).to all(eq(200))
    ensure
      [*everyone, *sticky, newcomer].compact.each(&:close)
    end

    it "of a worker that is killed go on in another one, also those that waited for it" do
      pid, id = ids.first
      gate = new_gate
      busy = hold_sticky(gate, id)
      wait_until_entered(gate)
      waiting = send_sticky(8, id)
      eventually("requests that wait") { admin.status["queue"]["waiting"].positive? }
      kill(pid)
      expect(busy.read_response.status).to eq(502)
      waiting.each { |client| expect(expect_new_route(client.read_response)).not_to eq(pid) }
      ready_workers(3)
      other = expect_new_route(server.get("/pid", **with(id)))
      expect(pid_for(ids.fetch(other))).to eq(other)
    ensure
      [busy, *waiting].compact.each(&:close)
    end

    it "of a worker that leaves in order go on in another one, also those that waited for it" do
      pid, id = ids.first
      gate = new_gate
      busy = hold_sticky(gate, id)
      wait_until_entered(gate)
      waiting = send_sticky(8, id)
      eventually("requests that wait") { admin.status["queue"]["waiting"].positive? }
      admin.post("/workers/detach", JSON.generate(pid: pid))
      waiting.each { |client| expect(expect_new_route(client.read_response)).not_to eq(pid) }
      open_gate(gate)
      expect(busy.read_response).to have_attributes(status: 200, body: "held by #{pid}")
      eventually("its end") { !Harness::ProcFS.alive?(pid) }
      expect(ready_workers(3)).not_to include(pid)
    ensure
      [busy, *waiting].compact.each(&:close)
    end

    it "go on in the new processes after a restart, without losing a request" do
      old = ids
      clients = old.map do |_, id|
        Thread.new { server.connect { |client| Array.new(100) { client.get("/pid", **with(id)).status } } }
      end
      touch_restart_file
      eventually("the new processes") { (server.workers & old.keys).empty? && server.workers.size == 3 }
      expect(clients.flat_map(&:value)).to all(eq(200))
      old.each_value { |id| expect(old.keys).not_to include(expect_new_route(server.get("/pid", **with(id)))) }
    end
  end

  describe "over workers with several threads" do
    serve "pool", max_pool_size: 2, min_instances: 2, thread_count: 2, sticky_sessions: true

    before { ready_workers(2) }

    it "use all threads of their worker, and wait when all are busy" do
      pid, id = ids.first
      gate = new_gate
      busy = Array.new(2) { hold_sticky(gate, id) }
      expect(wait_until_entered(gate, 2)).to eq([pid, pid])
      waiting = send_sticky(10, id)
      expect(Array.new(10) { server.get("/pid").body.to_i }).to all(satisfy { |other| other != pid })
      waiting.each { |client| expect(client.stray_bytes(0)).to eq("") }
      open_gate(gate)
      expect(busy.map { |client| client.read_response.body }).to all(eq("held by #{pid}"))
      expect(waiting.map { |client| client.read_response.body.to_i }).to all(eq(pid))
    ensure
      [*busy, *waiting].compact.each(&:close)
    end

    it "and the requests of others are all served under load" do
      clients = ids.flat_map do |pid, id|
        Array.new(3) { Thread.new { server.connect { |client| Array.new(60) { client.get("/pid", **with(id)).body.to_i }.uniq == [pid] } } }
      end
      outcomes = Harness::Load.during(server, connections: 4) { clients.each(&:join) }
      expect(clients.map(&:value)).to all(be(true))
      expect(outcomes.map(&:kind).tally.keys).to eq([200])
    end
  end

  it "have the cookie's name and attributes that are asked for" do
    server = start_server(pool_app, max_pool_size: 1, sticky_sessions: true, sticky_sessions_cookie_name: "worker",
                                    sticky_sessions_cookie_attributes: "SameSite=Strict; Secure; Max-Age=3600; Domain=example.test")
    response = server.get("/pid")
    expect(route_cookies(response)).to eq([])
    pair, *attributes = route_cookies(response, name: "worker").first
    expect(pair).to eq("worker=#{ids(server: server).fetch(response.body.to_i)}")
    # A client would drop a cookie that is Secure, over http.
    expect(attributes).to contain_exactly("Path=/", "SameSite=Strict", "Max-Age=3600", "Domain=example.test", "HttpOnly")
    expect(server.get("/pid", "Cookie" => pair).all("set-cookie")).to eq([])
    server.stop
  end

  it "are not begun where they are not asked for" do
    server = start_server(pool_app, max_pool_size: 1)
    expect(server.get("/pid", **with(1)).all("set-cookie")).to eq([])
    server.stop
  end

  it "and the response cache don't give one client the cookie of another" do
    server = start_server(pool_app, max_pool_size: 2, min_instances: 2, sticky_sessions: true, turbocaching: true)
    ready_workers(2, server: server)
    known = ids(server: server)
    seen = []
    # Without a cookie, with one, and without again, once there is something in the cache.
    requests = [{}, {}, with(known.values.first), with(known.values.last), *Array.new(6) { {} }, with(known.values.last), with("garbage")]
    kept = requests.count do |headers|
      response = server.get("/cached", **headers)
      answer = response.json["answer"]
      from_cache = seen.include?(answer)
      seen << answer
      mine = headers["Cookie"] == "#{NAME}=#{known[response.json["pid"]]}"
      expected = from_cache || mine ? nil : known.fetch(response.json["pid"])
      expect(route(response)).to eq(expected), "#{headers}: #{response.inspect}"
      from_cache
    end
    expect(kept).to be_positive
    server.stop
  end

  it "go elsewhere while their worker does out-of-band work" do
    work = <<~RUBY
      PhusionPassenger.on_event(:oob_work) do
        PoolApp.note("begin \#{Process.pid}")
        sleep 0.01 until File.exist?(File.join(PoolApp::DIRECTORY, "released"))
      end
    RUBY
    server = start_server(pool_app("boot.rb" => work), max_pool_size: 2, min_instances: 2, sticky_sessions: true)
    ready_workers(2, server: server)
    pid, id = ids(server: server).first
    expect(server.get("/oob", **with(id)).body).to eq(pid.to_s)
    eventually("the work") { events("begin", server: server).any? }
    expect(expect_new_route(server.get("/pid", **with(id)), server: server)).not_to eq(pid)
    Harness::Apps.write(server.directory, "released", "")
    ready_workers(2, server: server)
    expect(pid_for(id, server: server)).to eq(pid)
    server.stop
  end
end
