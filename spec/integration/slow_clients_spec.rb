# frozen_string_literal: true

RSpec.describe "slow clients" do
  # One worker with one thread: a client that occupies it stops everybody else.
  serve "control", max_pool_size: 1, thread_count: 1

  SMALL_WINDOW = 4096
  LARGE = 20_000_000

  def expect_others_are_served
    expect(server.get("/anything").body).to eq("GET /anything")
  end

  it "that send their headers slowly occupy no worker" do
    clients = Array.new(5) { server.connect.write("GET /slow HTTP/1.1\r\nHost: loc") }
    expect_others_are_served
    clients.each { |client| client.write("alhost\r\n\r\n") }
    expect(clients.map { |client| client.read_response.body }).to all(eq("GET /slow"))
  ensure
    clients&.each(&:close)
  end

  { "with a length" => ["Content-Length: 200000", "x" * 200_000],
    "in chunks" => ["Transfer-Encoding: chunked", "10000\r\n#{"x" * 65_536}\r\n" * 3 + "0d40\r\n#{"x" * 3392}\r\n0\r\n\r\n"] }
    .each do |kind, (header, body)|
    it "that upload slowly (#{kind}) occupy no worker" do
      clients = Array.new(5) do
        server.connect.write("POST /upload HTTP/1.1\r\nHost: x\r\n#{header}\r\n\r\n", body[0, 100_000])
      end
      expect_others_are_served
      clients.each { |client| client.write(body[100_000..]) }
      expect(clients.map { |client| client.read_response.body }).to all(eq("200000"))
    ensure
      clients&.each(&:close)
    end
  end

  { "an Array" => "/blob?size=#{LARGE}", "each" => "/download?size=#{LARGE}", "a file" => "/file?name=large" }.each do |kind, path|
    it "that download slowly from #{kind} occupy no worker" do
      File.binwrite(File.join(server.directory, "large"), "z" * LARGE)
      clients = Array.new(3) { server.connect(receive_buffer: SMALL_WINDOW).tap { |client| client.request("GET", path) } }
      # The answer has begun, and far more of it is left than sockets can hold.
      heads = clients.map(&:read_status_line)
      expect(heads.map { |head| head[1] }).to all(eq(200))
      expect_others_are_served
      clients.each do |client|
        client.read_headers
        expect(client.read_exactly(LARGE).bytesize).to eq(LARGE)
      end
      expect_others_are_served
    ensure
      clients&.each(&:close)
    end
  end

  it "that go away in the middle of a download cost nothing" do
    descriptors = server.get("/descriptors").body
    %W[/blob?size=#{LARGE} /download?size=#{LARGE}].each do |path|
      3.times do
        server.connect(receive_buffer: SMALL_WINDOW) do |client|
          client.request("GET", path)
          client.read_status_line
          client.reset
        end
      end
    end
    expect_others_are_served
    eventually("return of the worker's descriptors") { server.get("/descriptors").body == descriptors }
    eventually("end of all temporary files") { Dir.empty?(Harness::Suite.temporary_files) }
  end
end
