# frozen_string_literal: true

RSpec.describe "connections" do
  serve "responses", max_pool_size: 2

  def expect_end(client)
    expect(client.ended?).to be(true), "the server should have closed the connection"
  end

  describe "of HTTP/1.1" do
    it "serve one request after the other" do
      server.connect do |client|
        50.times { expect(client.get("/hello")).to have_attributes(status: 200, body: "hello") }
      end
    end

    it "end when the client asks for it" do
      server.connect do |client|
        response = client.get("/hello", "Connection" => "close")
        expect(response).to have_attributes(status: 200, body: "hello")
        expect(response["connection"]).to eq("close")
        expect_end(client)
      end
    end

    it "end when the client asks for it in a list, in any case" do
      server.connect do |client|
        expect(client.get("/hello", "Connection" => "x-foo, CLOSE").body).to eq("hello")
        expect_end(client)
      end
    end

    it "end after a streamed body when the client asks for it" do
      server.connect do |client|
        expect(client.get("/large-each", "Connection" => "close").body.bytesize).to eq(200 * 16_384)
        expect_end(client)
      end
    end

    it "survive that the client ends its side after the request" do
      server.connect do |client|
        client.request("GET", "/array")
        client.half_close
        expect(client.read_response.body).to eq("onetwothree")
        expect_end(client)
      end
    end

    it "allow empty lines before a request" do
      server.connect do |client|
        client.write("\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        expect(client.read_response.body).to eq("hello")
      end
    end

    it "take a request that comes byte by byte" do
      server.connect do |client|
        "GET /hello?q=1 HTTP/1.1\r\nHost: localhost\r\nX-Slow: yes\r\n\r\n".each_char { |byte| client.write(byte) }
        expect(client.read_response.body).to eq("hello")
      end
    end

    it "that end without a request disturb nobody" do
      10.times { server.connect(&:close) }
      10.times { server.connect(&:reset) }
      expect(server.get("/hello").body).to eq("hello")
    end
  end

  describe "with pipelined requests" do
    it "answer twenty of them in order" do
      server.connect do |client|
        requests = (1..20).map { |n| "GET /status?code=#{200 + n} HTTP/1.1\r\nHost: x\r\n\r\n" }
        # 204 and 205 have no body, and a response to every request all the same.
        requests.delete_if { |request| request.match?(/code=20[45]/) }
        client.write(requests.join)
        statuses = requests.map { client.read_response.status }
        expect(statuses).to eq(requests.map { |request| request[/\d{3}/].to_i })
        expect(client.stray_bytes).to eq("")
      end
    end

    it "answer different kinds of requests in order" do
      server.connect do |client|
        client.write(
          "POST /echo-method HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst",
          "HEAD /array HTTP/1.1\r\nHost: x\r\n\r\n",
          "POST /echo-method HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n0\r\n\r\n",
          "GET /no-content HTTP/1.1\r\nHost: x\r\n\r\n", "GET /large-each HTTP/1.1\r\nHost: x\r\n\r\n",
          "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET /array HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        expect(client.read_response.body).to eq("POST first")
        expect(client.read_response(to: "HEAD").status).to eq(200)
        expect(client.read_response.body).to eq("POST second")
        expect(client.read_response.status).to eq(204)
        expect(client.read_response.body.bytesize).to eq(200 * 16_384)
        expect(client.read_response.body).to eq("hello")
        expect_end(client)
      end
    end
  end

  describe "of HTTP/1.0" do
    it "end after the response" do
      server.connect do |client|
        response = client.get("/array", version: "1.0")
        expect(response).to have_attributes(status: 200, body: "onetwothree")
        expect_end(client)
      end
    end

    it "stay open when the client asks for it and the length is known" do
      server.connect do |client|
        3.times do
          response = client.get("/each-with-length", version: "1.0", "Connection" => "keep-alive")
          expect(response).to have_attributes(status: 200, body: "onetwothree", framing: :length)
          expect(response["connection"]).to match(/\Akeep-alive\z/i)
        end
      end
    end

    it "get a body of unknown length without chunks, ended by the end of the connection" do
      %w[/each /enumerator /stream].each do |path|
        server.connect do |client|
          response = client.get(path, version: "1.0", "Connection" => "keep-alive")
          expect(response.status).to eq(200)
          expect(response.all("transfer-encoding")).to eq([])
          expect(response.body).to start_with("one").or(start_with("piece 0\n"))
          expect_end(client) unless response.framing == :length
        end
      end
    end

    it "need no Host" do
      server.connect do |client|
        client.write("GET /hello HTTP/1.0\r\n\r\n")
        expect(client.read_response.body).to eq("hello")
      end
    end
  end

  it "are served at the same time in great number" do
    clients = Array.new(100) { server.connect }
    clients.each { |client| client.request("GET", "/hello") }
    expect(clients.map { |client| client.read_response.body }).to all(eq("hello"))
    clients.reverse_each { |client| client.request("GET", "/array") }
    expect(clients.map { |client| client.read_response.body }).to all(eq("onetwothree"))
  ensure
    clients&.each(&:close)
  end
end
