# frozen_string_literal: true

RSpec.describe "limits of connections" do
  def connections(server)
    admin(server).status["connections"]
  end

  def expect_refusal(server, why)
    server.connect do |client|
      response = client.offer("GET / HTTP/1.1\r\nHost: x\r\n\r\n").then { client.read_response }
      expect(response).to have_attributes(status: 503, body: why)
      expect([response["retry-after"], response["connection"]]).to eq(%w[10 close])
      expect(client.ended?).to be(true)
    end
  end

  it "count WebSockets and idle connections alike, refuse what is beyond them, and are told in the status" do
    server = start_server(Harness::Apps.directory("websocket"), bundled: false, max_pool_size: 1, max_connections: 2)
    socket = Harness::WebSocket.new(server, "/")
    server.connect do |client|
      expect(client.get("/").status).to eq(200)
      3.times { expect_refusal(server, /as many connections/) }
      expect(connections(server)).to eq("open" => 2, "hijacked" => 1, "limit" => 2, "refused" => 3)
      expect(client.get("/").status).to eq(200)
    end
    socket.send_text("still here")
    expect(socket.receive).to eq("STILL HERE")
    eventually("the end of a connection") { connections(server)["open"] == 1 }
    expect(server.get("/").status).to eq(200)
    expect(server.log.scan("connections are refused").size).to eq(1)
    socket.finish
    server.stop
  end

  it "count for each address, if wanted" do
    server = start_server(Harness::Apps.hello, max_pool_size: 1, max_connections_per_ip: 1)
    eventually("the end of the connection that has looked for the server") { connections(server)["open"].zero? }
    server.connect do |client|
      expect(client.get("/").status).to eq(200)
      expect_refusal(server, /from your address/)
    end
    server.stop
  end

  it "do not count for an address where clients come through a Unix socket" do
    path = File.join(Harness::Suite.new_directory("sockets"), "s")
    server = start_server(Harness::Apps.hello, max_pool_size: 1, max_connections_per_ip: 1, socket: path)
    server.connect do |client|
      expect(client.get("/").status).to eq(200)
      expect(server.get("/").status).to eq(200)
    end
    server.stop
  end

  it "are held against the limit of file descriptors when the server starts" do
    server = start_server(Harness::Apps.hello, max_pool_size: 1, max_connections: 1_000_000)
    expect(server.log).to match(/does not suffice for max_connections.*max_connections=1000000 descriptors=\d+ enough_for=\d+/)
    expect(connections(server)["limit"]).to be < Process.getrlimit(:NOFILE).last
    server.stop
  end

  it "are not those that a shell sets for every process, neither in the server nor in a worker" do
    soft, hard = Process.getrlimit(:NOFILE)
    Process.setrlimit(:NOFILE, 100, hard)
    server = start_server(Harness::Apps.directory("websocket"), bundled: false, max_pool_size: 1)
    Process.setrlimit(:NOFILE, soft, hard)
    sockets = Array.new(150) { Harness::WebSocket.new(server, "/") }
    sockets.last.send_text("one of many")
    expect(sockets.last.receive).to eq("ONE OF MANY")
    expect(server.get("/").status).to eq(200)
    sockets.each(&:finish)
    server.stop
  ensure
    Process.setrlimit(:NOFILE, soft, hard)
  end

  describe "when the server has no file descriptors left" do
    # Leaves so many descriptors.
    def leave_descriptors(server, number)
      limit = (0..).lazy.reject { |fd| Harness::ProcFS.descriptors(server.pid).key?(fd) }.first(number).last + 1
      expect(system("prlimit", "--pid", server.pid.to_s, "--nofile=#{limit}:#{Process.getrlimit(:NOFILE).last}")).to be(true)
    end

    it "refuse clients, without a busy loop, until there are some again" do
      server = start_server(Harness::Apps.hello, max_pool_size: 1)
      expect(server.get("/").status).to eq(200)
      leave_descriptors(server, 10)
      inside = Array.new(30) { server.connect }
      statuses = inside.filter_map { |client| client.get("/").status rescue nil } # rubocop:disable Style/RescueModifier -- one may be cut off
      expect(statuses.tally).to match(200 => (5..15), 503 => (10..25))
      expect(server.running?).to be(true)
      inside.each(&:close)
      eventually("room for a client") { server.get("/").status == 200 }
      expect(server.log.scan("no file descriptors left").size).to eq(1)
      server.stop
    end
  end
end
