# frozen_string_literal: true

RSpec.describe "many open streams" do
  def clients = @clients ||= []

  after { clients.each(&:close) }

  def listen(server, path)
    server.connect.tap do |client|
      clients << client
      client.request("GET", path)
    end
  end

  # Those of the clients that have got the head of a response by now, by its status.
  def answered
    clients.group_by { |client| client.stray_bytes(0)[%r{\AHTTP/1.1 (\d+)}, 1]&.to_i }
  end

  describe "that are sent from request threads" do
    it "hold these, which status and log show; the rest waits and is refused as the queue's limits say" do
      server = start_server(Harness::Apps.directory("streams"), max_pool_size: 1, thread_count: 5, max_request_queue_size: 10)
      expect(server.get("/").body).to eq("hello") # the application has started
      50.times { listen(server, "/learns/abort") }
      eventually(-> { "answers to some (there are #{answered.transform_values(&:size)})" }) do
        # 5 in threads; 5 times 4 handed to the process in advance, and 10 in line; no room for the others
        answered.transform_values(&:size) == { 200 => 5, nil => 30, 503 => 15 }
      end
      expect(server.get("/").status).to eq(503)

      status = admin(server).status
      expect(status["pool"]).to include("streams" => 5, "threads" => 5)
      worker = status["workers"].first
      expect(worker).to include("streams" => 5, "slots" => 5, "working" => 5)
      expect(worker["current"].map { |request| request["age_ms"] }).to all(be_an(Integer))
      expect(status["queue"]).to include("waiting" => 10, "full" => 16)

      cause = "all request threads are busy with responses that are still being streamed"
      eventually("the cause in the log") { server.log.include?(cause) }
      expect(server.log).to match(/#{cause}.*thread_count.*threads=5/)
      expect(server.log.scan(cause).size).to eq(1)

      # Those who leave make room for others, although the application has not written anything.
      answered.fetch(200).each(&:close)
      clients.reject! { |client| client.socket.closed? }
      eventually("answers to those who wait") { answered.fetch(200, []).size == 5 }
      clients.each(&:close)
      eventually("room for everybody") { server.get("/").status == 200 }
      server.stop
    end
  end

  describe "of an application that takes the connections over (docs/streaming.md)" do
    it "hold no thread" do
      server = start_server(Harness::Apps.directory("hijacked_sse"), max_pool_size: 1, thread_count: 1)
      50.times { listen(server, "/events") }
      clients.each do |client|
        expect(client.read_status_line[1]).to eq(200)
        expect(client.read_headers).to include(%w[content-type text/event-stream])
      end
      expect(server.get("/").body).to eq("hello")
      worker = admin(server).status["workers"].first
      expect(worker).to include("hijacked" => 50, "streams" => 0, "working" => 0)

      expect(server.post("/events", "first\nevent").status).to eq(204)
      clients.each { |client| expect(client.read_exactly(25)).to eq("data: first\ndata: event\n\n") }

      clients.shift(20).each(&:close)
      eventually("notice of those who have left") { admin(server).status["workers"].first["hijacked"] == 30 }
      server.post("/events", "second")
      clients.each { |client| expect(client.read_exactly(14)).to eq("data: second\n\n") }
      server.stop
      expect(clients.map(&:ended?)).to all(be(true))
    end

    it "is the one that the documentation shows" do
      source = File.read(File.join(Harness::Apps::SOURCE, "hijacked_sse.ru"))
      expect(File.read(File.join(Harness::ROOT, "docs/streaming.md"))).to include(source)
    end
  end
end
