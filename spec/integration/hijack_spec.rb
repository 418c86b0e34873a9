# frozen_string_literal: true

require "digest"

RSpec.describe "connections that the application takes over" do
  def serve_hijacker(**options)
    start_server(Harness::Apps.directory("hijack"), max_pool_size: 1, **options)
  end

  def upgrade(server, path, early: "", **options)
    client = server.connect(**options)
    client.write("GET #{path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n#{early}")
    clients << client
    client
  end

  def upgraded(...)
    upgrade(...).tap { |client| expect_switch(client) }
  end

  def expect_switch(client)
    expect(client.read_status_line).to eq(["HTTP/1.1", 101, "Switching Protocols"])
    expect(client.read_headers).to eq([%w[connection Upgrade], %w[upgrade raw]]) # these and no others: nothing is added
  end

  def expect_echo(client, text)
    client.write(text)
    expect(client.read_exactly(text.bytesize)).to eq(text)
  end

  # [pid of the worker, sockets that it serves, bytes that it has written]
  def figures(server) = server.get("/figures").body.split.map(&:to_i)

  def received(server)
    path = File.join(server.directory, "received")
    eventually("what the application has received") { File.exist?(path) && !File.empty?(path) }
    File.read(path)
  end

  def clients = @clients ||= []

  after { clients.each(&:close) }

  it "carry what either side sends, from the first byte behind the request on" do
    server = serve_hijacker
    client = upgraded(server, "/echo", early: "early")
    expect(client.read_exactly(5)).to eq("early")
    expect_echo(client, "later")
    server.stop
  end

  it "can have served other requests before, with requests sent ahead" do
    server = serve_hijacker
    client = server.connect
    clients << client
    client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\nearly")
    2.times { expect(client.read_response.body).to eq("ordinary") }
    expect_switch(client)
    expect(client.read_exactly(5)).to eq("early")
    server.stop
  end

  it "can belong to a request with a body, of any size" do
    server = serve_hijacker
    { 3 => 3, 500_000 => 500_000 }.each do |size, seen|
      client = server.connect
      clients << client
      client.write("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: #{size}\r\n\r\n", "x" * size, "after")
      expect_switch(client)
      expect(client.read_to_end).to eq("#{seen} after")
    end
    client = upgrade(server, "/body", early: "bare")
    expect_switch(client)
    expect(client.read_to_end).to eq("0 bare")
    server.stop
  end

  it "are free of the request's slot when the application has returned" do
    server = serve_hijacker
    sockets = Array.new(4) { Array.new(50) { upgrade(server, "/echo") }.each { |client| expect_switch(client) } }.flatten
    expect(server.get("/").body).to eq("ordinary")
    sockets.each_with_index { |client, i| expect_echo(client, "number #{i}") }
    expect(figures(server)[1]).to eq(200)
    20.times { expect(server.get("/").body).to eq("ordinary") }
    sockets.reverse.each_with_index { |client, i| expect_echo(client, "again #{i}") }
    server.stop
  end

  it "may be used up within the call" do
    server = serve_hijacker
    client = upgraded(server, "/in-call")
    waiting = server.connect
    clients << waiting
    waiting.request("GET", "/")
    expect_echo(client, "while the request is in work")
    client.half_close
    expect(client.ended?).to be(true)
    expect(waiting.read_response.body).to eq("ordinary")
    server.stop
  end

  describe "that end on one side" do
    it "carry the answer after the client has ended its side" do
      server = serve_hijacker
      client = upgraded(server, "/answer-after-end")
      client.write("question")
      client.half_close
      expect(client.read_to_end).to eq("read 8 bytes")
      server.stop
    end

    it "carry what the client sends after the application has ended its side" do
      server = serve_hijacker
      client = upgraded(server, "/end-first")
      expect(client.read_to_end).to eq("the end of the application")
      client.write("still heard")
      client.half_close
      expect(received(server)).to eq("still heard")
      server.stop
    end
  end

  it "carry much in both directions at once" do
    server = serve_hijacker
    size = 50_000_000
    client = upgraded(server, "/both?size=#{size}", within: 60)
    bytes = Random.new(1).bytes(size)
    digest = Digest::SHA256.new
    count = 0
    reader = Thread.new do
      until client.ended?
        piece = client.stray_bytes(0)
        client.read_exactly(piece.bytesize)
        digest << piece
        count += piece.bytesize
      end
    end
    client.write(bytes)
    client.half_close
    reader.join
    expect(received(server)).to eq("#{size} #{Digest::SHA256.hexdigest(bytes)} #{digest.hexdigest}")
    expect(count).to eq(size)
    server.stop
  end

  it "hold an application up whose client does not read" do
    server = serve_hijacker
    size = 100 << 20
    before = Harness::ProcFS.resident_bytes(server.pid)
    client = upgraded(server, "/flood?size=#{size}", receive_buffer: 65_536, within: 60)
    last = nil
    eventually("the application's standstill") do
      now = figures(server)[2]
      still = now.positive? && now == last
      last = now
      sleep(0.2) unless still
      still
    end
    expect(last).to be < 32 << 20
    expect(Harness::ProcFS.resident_bytes(server.pid) - before).to be < 32 << 20
    expect(client.read_to_end.bytesize).to be >= size
    server.stop
  end

  it "may get the head of their response from the server" do
    server = serve_hijacker
    %w[hello later].zip(%w[/partial /later]).each do |body, path|
      2.times do
        response = server.get(path, "Accept-Encoding" => "gzip")
        expect(response).to have_attributes(status: 200, body: body, framing: :close)
        expect(response.all("connection")).to eq(["close"])
      end
      expect(server.head(path)).to have_attributes(status: 200, body: "")
    end
    expect(server.connect { |client| client.get("/partial", version: "1.0") }.body).to eq("hello")
    server.stop
  end

  it "end for the application when the client vanishes" do
    server = serve_hijacker
    upgraded(server, "/echo").reset
    upgraded(server, "/echo").close
    upgrade(server, "/echo").reset # perhaps before the application has it
    eventually("the end of the sockets") { figures(server)[1].zero? }
    server.stop
  end

  it "end for the client when the process is killed" do
    server = serve_hijacker
    client = upgraded(server, "/echo")
    pid = figures(server).first
    Process.kill(:KILL, pid)
    expect(client.ended?).to be(true)
    expect(figures(server).first).not_to eq(pid)
    server.stop
  end

  it "end for the application when the server is killed" do
    server = serve_hijacker
    client = upgraded(server, "/echo")
    family = server.processes
    server.signal(:KILL)
    expect(client.ended?).to be(true)
    eventually("the end of all processes") { family.none? { |pid| Harness::ProcFS.alive?(pid) } }
    server.forget_instances
  end

  it "end when the application is restarted" do
    server = serve_hijacker
    client = upgraded(server, "/echo")
    busy = upgraded(server, "/in-call")
    pid = figures_of_any(server)
    FileUtils.touch(File.join(server.directory, "tmp/restart.txt"))
    busy.half_close
    expect(client.ended?).to be(true)
    expect(figures(server).first).not_to eq(pid)
    server.stop
  end

  # The only slot is busy: the process is known by its title.
  def figures_of_any(server) = server.workers.first

  it "do not hold up the end of the server" do
    server = serve_hijacker(shutdown_timeout: 300)
    client = upgraded(server, "/echo")
    silent = upgraded(server, "/flood?size=#{1 << 30}", receive_buffer: 4096)
    server.stop
    expect(client.ended?).to be(true)
    silent.close
  end

  it "leave no descriptor behind" do
    server = serve_hijacker
    use = lambda do
      Array.new(10) { upgraded(server, "/echo") }.each { |client| expect_echo(client, "x") }.each_slice(2) do |one, other|
        one.close
        other.reset
      end
      3.times { upgraded(server, "/answer-after-end").tap(&:half_close).read_to_end }
      server.get("/partial")
      eventually("the end of the sockets") { figures(server)[1].zero? }
    end
    sockets = lambda do |pid|
      Harness::ProcFS.descriptors(pid).values.count { |name| name.start_with?("socket:") }
    end
    use.call
    pid = figures(server).first
    before = [server.pid, pid].map(&sockets)
    3.times { use.call }
    eventually("return of the sockets") { [server.pid, pid].map(&sockets).zip(before).all? { |now, then_| now <= then_ } }
    server.stop
  end
end
