# frozen_string_literal: true

RSpec.describe "resources" do
  IDLE_LIMIT = 60 << 20

  it "of the idle server process stay within 60 MB of memory" do
    server = start_server(Harness::Apps.hello, max_pool_size: 1)
    expect(server.get("/").body).to eq("hello")
    expect(Harness::ProcFS.resident_bytes(server.pid)).to be_between(1, IDLE_LIMIT)
    server.stop
  end

  # Every way in which a request can end, a few times; then everything as before.
  def use(server)
    Harness::Load.during(server) { |load| load.wait_for(300) }
    3.times do
      server.post("/upload", "x" * 400_000)
      server.get("/download?size=1000000")
      server.get("/file?name=config.ru")
      server.get("/blob?size=3000000")
      server.get("/raise?message=leak")
      server.connect { |client| client.offer("nonsense\r\n\r\n") }
      server.connect { |client| client.write("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n", "x" * 300_000).reset }
      server.connect { |client| client.request("GET", "/blob?size=9000000").reset }
    end
  end

  def descriptors(server)
    Harness::ProcFS.descriptors(server.pid).values
  end

  it "are all given back by the server after load, errors and clients that vanish" do
    server = start_server(Harness::Apps.directory("control"), max_pool_size: 2, min_instances: 2)
    eventually("two workers") { server.workers.size == 2 }
    use(server)
    before = eventually("quiet") { settled(server) }
    3.times { use(server) }
    eventually(-> { "return of the descriptors, there are more: #{surplus(server, before)}" }) { descriptors(server).size <= before }
    expect(Dir.children(Harness::Suite.temporary_files)).to eq([])
    server.stop
  end

  it "are all given back by workers" do
    server = start_server(Harness::Apps.directory("control"), max_pool_size: 1)
    use(server)
    worker = server.workers.first
    before = Harness::ProcFS.descriptors(worker)
    3.times { use(server) }
    eventually("return of the descriptors") { Harness::ProcFS.descriptors(worker).size <= before.size }
    server.stop
  end

  it "are all given back by the server when workers die and when the application restarts" do
    directory = Harness::Apps.directory("control")
    server = start_server(directory, max_pool_size: 2, min_instances: 2)
    eventually("two workers") { server.workers.size == 2 }
    before = descriptors(server).size
    5.times do
      Process.kill(:KILL, victim = server.workers.first)
      eventually("a new worker") { server.workers.size == 2 && !server.workers.include?(victim) }
    end
    5.times do |number|
      old = server.workers
      FileUtils.touch(File.join(directory, "tmp", "restart.txt"), mtime: Time.now + number)
      eventually("new workers") { server.workers.size == 2 && (server.workers & old).empty? }
    end
    eventually(-> { "return of the descriptors, there are more: #{surplus(server, before)}" }) { descriptors(server).size <= before }
    server.stop
  end

  # The number of descriptors when it has stopped changing: connections that the clients have closed are noticed soon.
  def settled(server)
    counts = Array.new(10) { sleep 0.02 and descriptors(server).size }
    counts.first if counts.uniq.size == 1
  end

  def surplus(server, before)
    "#{descriptors(server).size} instead of #{before}: #{descriptors(server).map { |name| name[/\A[^\[]+/] }.tally}"
  end
end
