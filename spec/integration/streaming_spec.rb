# frozen_string_literal: true

require "zlib"

RSpec.describe "streamed responses" do
  serve "streams", max_pool_size: 1, thread_count: 2

  def records(server = self.server)
    path = File.join(server.directory, "records")
    File.exist?(path) ? File.readlines(path, chomp: true) : []
  end

  def expect_record(line)
    eventually(-> { "the record #{line.inspect} (there are #{records.drop(@seen)})" }) { records.drop(@seen).include?(line) }
  end

  before { @seen = records.size }

  # The body of a response as it comes: the response is complete only when the block has been given all pieces.
  def expect_pieces(path, gate, **options)
    server.connect do |client|
      client.request("GET", "#{path}?gate=#{gate}", **options)
      received = +""
      response = client.read_response do |piece|
        received << piece
        open_gate("#{gate}-2") if received == "one "
        open_gate("#{gate}-3") if received == "one two "
      end
      expect(received).to eq("one two three")
      yield response, client
    end
  end

  describe "reach the client piece by piece" do
    { "an Enumerator" => "/enumerator", "an Enumerator of known length" => "/length", "server-sent events" => "/events",
      "a streaming body (Rack 3)" => "/stream", "a streaming body that another thread writes" => "/stream-in-thread",
      "a partial hijack" => "/partial", "a body that the application has put in chunks" => "/chunked" }.each do |kind, path|
      it "from #{kind}" do
        expect_pieces(path, new_gate) do |response, client|
          expect(response.status).to eq(200)
          expect(response.trailers).to eq([])
          expect(response.framing).to eq({ "/length" => :length, "/partial" => :close }.fetch(path, :chunked))
          expect(client.get("/").body).to eq("hello") unless path == "/partial"
        end
      end

      it "from #{kind}, also if it speaks HTTP/1.0" do
        expect_pieces(path, new_gate, version: "1.0") do |response, client|
          expect(response.all("transfer-encoding")).to eq([])
          expect(response.framing).to eq(path == "/length" ? :length : :close)
          expect(client.ended?).to be(true)
        end
      end
    end

    it "when they are compressed on the way" do
      inflater = Zlib::Inflate.new(16 + Zlib::MAX_WBITS)
      gate = new_gate
      received = +""
      server.connect do |client|
        client.request("GET", "/enumerator?gate=#{gate}", "Accept-Encoding" => "gzip")
        response = client.read_response do |piece|
          received << inflater.inflate(piece)
          open_gate("#{gate}-2") if received == "one "
          open_gate("#{gate}-3") if received == "one two "
        end
        expect(response["content-encoding"]).to eq("gzip")
      end
      expect(received).to eq("one two three")
    end

    it "beginning with the head of an event stream that has no event yet" do
      gate = new_gate
      server.connect do |client|
        client.request("GET", "/silent-events?gate=#{gate}")
        expect(client.read_status_line[1]).to eq(200)
        open_gate(gate)
        client.read_headers
        expect(client.read_line).to match(/\A\h+\z/)
        expect(client.read_exactly(9)).to eq("data: 1\n\n")
      end
    end
  end

  describe "that have no body" do
    %w[204 304].each do |status|
      it "are not iterated nor called (#{status})" do
        server.connect do |client|
          %w[/bodiless /bodiless-stream].each do |path|
            response = client.get("#{path}?status=#{status}")
            expect(response).to have_attributes(status: status.to_i, body: "")
            expect(response.header_lines.map(&:first)).not_to include("transfer-encoding", "content-length")
          end
          expect(client.get("/").body).to eq("hello")
        end
        expect_record("bodiless closed")
        expect(records.drop(@seen)).not_to include(match(/iterated|called/))
      end
    end

    it "because of HEAD are not iterated nor called" do
      server.connect do |client|
        %w[/bodiless /bodiless-stream].each { |path| expect(client.head("#{path}?status=200").status).to eq(200) }
        %w[/enumerator /stream /events /partial].each { |path| expect(client.head("#{path}?gate=none").status).to eq(200) }
        expect(client.get("/").body).to eq("hello")
      end
      expect(records.drop(@seen)).not_to include(match(/iterated|called/))
    end
  end

  describe "whose client has gone while the application is silent" do
    # Begins such a response and leaves it behind.
    def leave(path, how = :close)
      gate = new_gate
      client = server.connect
      client.request("GET", "#{path}?gate=#{gate}")
      client.read_status_line
      client.read_headers
      eventually("the first piece") { client.stray_bytes(0.01).include?("hello") || client.stray_bytes(0).include?("tick") }
      client.public_send(how)
      [gate, client]
    end

    def expect_free_threads
      eventually("end of all streams") { admin.status.dig("pool", "streams").zero? }
      expect(server.get("/").body).to eq("hello")
    end

    %i[close reset].each do |how|
      it "close the stream of a streaming body (#{how})" do
        leave("/learns/stream", how)
        expect_record("stream closed")
        expect_record("stream cannot be read")
        expect_record("stream got PhusionPassenger::Native::ClientGone")
        expect_free_threads
      end

      it "abort a body that can be aborted (#{how})" do
        leave("/learns/abort", how)
        expect_record("subscription aborted")
        expect_record("subscription has ended")
        expect_record("subscription closed")
        expect_free_threads
      end
    end

    it "abort a body also behind the proxies of middleware" do
      leave("/learns/wrapped-abort")
      expect_record("subscription aborted")
      expect_record("proxy closed")
    end

    it "fail at the next write, are closed, and tell who waits for the end" do
      gate, = leave("/learns/each")
      expect_record("each told")
      open_gate(gate)
      expect_record("each got PhusionPassenger::Native::ClientGone")
      expect_record("each closed")
      expect_record("each finished with PhusionPassenger::Native::ClientGone")
      expect_free_threads
    end

    it "give their thread back although another one writes the body and has not noticed" do
      gate, = leave("/learns/thread")
      expect_free_threads
      expect(records.drop(@seen)).to eq([])
      open_gate(gate)
      expect_record("thread got PhusionPassenger::Native::ClientGone")
    end

    it "count as left when the client has only ended its side of the connection and is sent nothing" do
      _, client = leave("/learns/stream", :half_close)
      expect_record("stream closed")
      expect(client.read_to_end).not_to include("nobody")
    ensure
      client&.close
    end

    it "go on while a client that has ended its side is sent something, and end when it is gone" do
      _, client = leave("/learns/busy", :half_close)
      seen = client.stray_bytes(0).bytesize
      # For longer than a silent stream would have been kept: the application writes every millisecond.
      eventually("more of the stream") { client.stray_bytes(0.01).bytesize > seen + 1000 * "5\r\ntick\n\r\n".bytesize }
      client.close
      expect_record("busy got PhusionPassenger::Native::ClientGone")
    ensure
      client&.close
    end

    it "are nothing to complain about in the log" do
      leave("/learns/abort")
      expect_record("subscription closed")
      expect_free_threads
      expect(server.said).not_to include("ClientGone")
      expect(server.said).not_to include("broken off")
    end
  end

  describe "that are produced faster than they are read" do
    def sent
      path = File.join(server.directory, "sent")
      text = File.exist?(path) ? File.read(path) : ""
      text.empty? ? 0 : text.to_i
    end

    # How far the application gets that nobody reads from, until it waits. It is expected to get so far.
    def ahead(path, at_least: 1)
      File.write(File.join(server.directory, "sent"), "")
      client = server.connect(receive_buffer: 4096)
      client.request("GET", path)
      client.read_status_line
      before = -1
      since = nil
      eventually("waiting of the application", within: 60) do
        now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        since = now if sent != before
        before = sent
        before >= at_least && now - since > 1.5
      end
      before
    ensure
      client&.close
      expect_record("endless got PhusionPassenger::Native::ClientGone")
    end

    it "wait after 64 MB when they do not say how long they are" do
      expect(ahead("/endless", at_least: 64_000_000)).to be < 80_000_000
    end

    %w[/endless-events /endless-unbuffered].each do |path|
      it "wait at once when they are meant to be read at once (#{path})" do
        expect(ahead(path)).to be < 16_000_000
      end
    end

    it "leave no file behind" do
      eventually("end of all temporary files") { Dir.empty?(Harness::Suite.temporary_files) }
    end
  end
end
