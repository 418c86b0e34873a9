# frozen_string_literal: true

RSpec.describe "early hints" do
  serve "streams", max_pool_size: 1, early_hints: true, turbocaching: true

  def records(server = self.server)
    path = File.join(server.directory, "records")
    File.exist?(path) ? File.readlines(path, chomp: true) : []
  end

  # The next interim response: its status and headers.
  def interim(client)
    [client.read_status_line[1], client.read_headers]
  end

  HINTS = [103, [["link", "</a.css>; rel=preload; as=style"], ["link", "</b.js>; rel=preload; as=script"]]].freeze

  it "come before the response, as soon as the application gives them" do
    gate = new_gate
    server.connect do |client|
      client.request("GET", "/hints?gate=#{gate}")
      expect(interim(client)).to eq(HINTS)
      open_gate(gate)
      response = client.read_response
      expect(response).to have_attributes(status: 200, informational: [])
      expect(response.all("link")).to eq([])
      expect(client.get("/")).to have_attributes(body: "hello", informational: [])
    end
  end

  it "may come several times, with values as Rack 2 and Rack 3 have them" do
    server.connect do |client|
      client.request("GET", "/hints?twice=1")
      expect(interim(client)).to eq(HINTS)
      expect(interim(client)).to eq([103, [["link", "</c.css>; rel=preload"], ["link", "</d.css>; rel=preload"], %w[x-number 2]]])
      expect(client.read_response.status).to eq(200)
    end
  end

  it "are not for clients that speak HTTP/1.0" do
    expect(server.get("/hints", version: "1.0")).to have_attributes(status: 200, informational: [])
    expect(records.last).to eq("hints not offered")
  end

  it "never get between the responses to requests that a client sends ahead" do
    server.connect do |client|
      client.write("GET /hints HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
      responses = Array.new(5) { client.read_response }
      expect(responses.map(&:body)).to all(eq("hinted " * 200))
      expect(responses.drop(1).flat_map(&:informational)).to eq([])
      expect(client.stray_bytes).to eq("")
    end
  end

  it "come on a connection that has been used, also for uploads" do
    server.connect do |client|
      expect(client.post("/", "x" * 100_000).body).to eq("hello")
      expect(client.post("/hints", "x" * 10).informational).to eq([103])
      expect(client.get("/hints").informational).to eq([103])
      # Nobody knows how long a body in chunks was, with its framing, so that there are none from here on.
      client.write("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
      expect(client.read_response.body).to eq("hello")
      expect(client.get("/hints").informational).to eq([])
    end
  end

  it "are compatible with compression" do
    response = server.get("/hints", "Accept-Encoding" => "gzip")
    expect(response["content-encoding"]).to eq("gzip")
    expect(response.informational).to eq([103])
  end

  it "are not kept with a response that is kept" do
    first = server.get("/hints?public=1")
    again = server.get("/hints?public=1")
    expect(first.informational).to eq([103])
    expect(again).to have_attributes(body: first.body, informational: [])
    expect(again["age"]).not_to be_nil
  end

  it "that come after the response has begun are left out" do
    expect(server.get("/late-hints")).to have_attributes(body: "begun ended", informational: [])
  end

  it "cannot be split by the application's data" do
    response = server.get("/bad-hints")
    expect(response).to have_attributes(status: 500, informational: [])
    eventually("a line in the log") { server.said.include?("the response header \"link\" contains a carriage return") }
  end

  it "are limited in number" do
    response = server.get("/many-hints")
    expect(response.body).to eq("many")
    expect(response.informational).to eq([103] * 8)
  end

  it "may be followed by an error of the server" do
    server.connect do |client|
      client.request("GET", "/die-after-hints")
      response = client.read_response
      expect(response).to have_attributes(status: 502, informational: [103])
    end
    eventually("another process") { server.get("/").status == 200 }
  end

  it "do not come unless they are wanted" do
    other = start_server(Harness::Apps.directory("streams"), max_pool_size: 1)
    expect(other.get("/hints")).to have_attributes(status: 200, informational: [])
    expect(records(other)).to eq(["hints not offered"])
    other.stop
  end
end
