# frozen_string_literal: true

require_relative "../support/static_site"

RSpec.describe "connections on which files are sent" do
  site = Harness::StaticSite
  small = "small"
  medium = site.noise(40_000, 3)
  large = site.noise(3_000_000, 4)

  serve_files({ "small.txt" => small, "medium.bin" => medium, "large.bin" => large, "empty.txt" => "", "page.html" => "page",
                "text.css" => "p { color: red }\n" * 1000 })

  def descriptors
    Harness::ProcFS.descriptors(server.pid).values.grep(%r{/public/})
  end

  it "carry any sequence of answers, sent in one go and read in order" do
    requests = [["GET", "/small.txt", {}], ["GET", "/large.bin", {}], ["HEAD", "/large.bin", {}], ["GET", "/nothing", {}], ["GET", "/page", {}],
                ["GET", "/large.bin", { "Range" => "bytes=10-19" }], ["GET", "/medium.bin", { "If-None-Match" => "*" }], ["GET", "/empty.txt", {}],
                ["GET", "/large.bin", { "Range" => "bytes=0-9,20-29" }], ["GET", "/large.bin", { "Range" => "bytes=99999999-" }],
                ["GET", "/text.css", { "Accept-Encoding" => "gzip" }], ["GET", "/medium.bin", { "If-Match" => '"x"' }], ["GET", "/medium.bin", {}]]
    alone = requests.map { |method, target, headers| facts_of(server, method, target, headers) }
    order = requests.each_index.to_a * 5
    order.shuffle!(random: Random.new(RSpec.configuration.seed))
    server.connect do |client|
      client.write(order.map { |index|
        method, target, headers = requests[index]
        "#{method} #{target} HTTP/1.1\r\nHost: x\r\n#{headers.map { |name, value| "#{name}: #{value}\r\n" }.join}\r\n"
      }.join)
      order.each { |index| expect(site.facts(client.read_response(to: requests[index].first))).to eq(alone[index]) }
      expect(client.stray_bytes).to eq("")
    end
  end

  it "end with the file for HTTP/1.0" do
    { "/small.txt" => small, "/large.bin" => large, "/empty.txt" => "" }.each do |target, content|
      server.connect do |client|
        client.write("GET #{target} HTTP/1.0\r\n\r\n")
        response = client.read_response
        expect([response.status, response.body == content, client.ended?]).to eq([200, true, true])
      end
    end
  end

  it "end when the client wants it" do
    server.connect do |client|
      expect(client.get("/large.bin", "Connection" => "close").body == large).to be(true)
      expect(client.ended?).to be(true)
    end
  end

  it "go on after answers without a body, and leave no file open" do
    server.connect do |client|
      20.times do
        client.head("/large.bin")
        client.get("/large.bin", "If-None-Match" => "*")
        client.get("/large.bin", "If-Match" => '"x"')
        client.get("/large.bin", "Range" => "bytes=99999999-")
        client.get("/large.bin", "Range" => "bytes=0-0")
        client.get("/large.bin", "Range" => "bytes=0-0,5-5")
        client.post("/large.bin", "x")
      end
      eventually(-> { "closed files (#{descriptors})" }) { descriptors.empty? }
    end
  end

  it "leave no file open when their clients go away in the middle" do
    50.times do |number|
      client = server.connect(receive_buffer: 4096)
      client.request("GET", "/large.bin")
      client.read_status_line
      number.even? ? client.reset : client.close
    end
    eventually(-> { "closed files (#{descriptors})" }) { descriptors.empty? }
    expect(server.get("/large.bin").body == large).to be(true)
  end

  it "do not wait for one another: slow readers keep neither files nor the application from others" do
    slow = Array.new(30) { server.connect(receive_buffer: 4096).tap { |client| client.request("GET", "/large.bin") } }
    slow.each { |client| expect(client.read_status_line[1]).to eq(200) }
    expect(server.get("/large.bin").body == large).to be(true)
    expect(server.get("/nothing")).to by_app
    slow.each do |client|
      expect(client.read_headers.to_h["content-length"]).to eq(large.bytesize.to_s)
      expect(client.read_exactly(large.bytesize) == large).to be(true)
    end
  ensure
    slow&.each(&:close)
  end

  it "get the right file each when many ask for many" do
    contents = { "/small.txt" => small, "/medium.bin" => medium, "/large.bin" => large, "/page" => "page" }
    wrong = Array.new(12) do |number|
      Thread.new do
        random = Random.new(number)
        server.connect do |client|
          Array.new(40) { contents.keys.sample(random: random) }.reject { |target| client.get(target).body == contents[target] }
        end
      end
    end
    expect(wrong.flat_map(&:value)).to eq([])
  end

  it "take bodies of requests for files off the connection" do
    server.connect do |client|
      client.request("GET", "/small.txt", body: "x" * 100_000)
      expect(client.read_response.body).to eq(small)
      client.request("GET", "/large.bin", body: "GET /evil HTTP/1.1\r\nHost: x\r\n\r\n")
      expect(client.read_response.body == large).to be(true)
      expect(client.get("/small.txt").body).to eq(small)
      expect(client.stray_bytes).to eq("")
    end
  end
end
