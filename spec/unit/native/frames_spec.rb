# frozen_string_literal: true

require_relative "driver"

# The golden frames are shared with the Go tests: see spec/fixtures/frames/README.md.
RSpec.describe "Golden frames" do
  include_context "with a slot"

  def golden(name) = File.binread(File.expand_path("../../fixtures/frames/#{name}.bin", __dir__))

  describe "of requests" do
    let(:connection) do
      { "SERVER_PROTOCOL" => "HTTP/1.1", "SERVER_NAME" => "example.com", "SERVER_PORT" => "8080",
        "REMOTE_ADDR" => "192.0.2.7", "REMOTE_PORT" => "50123", "HTTP_HOST" => "example.com:8080" }
    end

    it "gives the environment of a GET" do
      driver.put(golden("request_get"))
      expect(slot.receive).to include(
        **connection, "REQUEST_METHOD" => "GET", "REQUEST_URI" => "/posts/1?page=2", "PATH_INFO" => "/posts/1",
                      "QUERY_STRING" => "page=2", "HTTP_ACCEPT" => "*/*", "HTTP_X_FLAVOUR" => "vanilla",
                      "rack.url_scheme" => "http"
      )
      expect(slot.request_id).to eq((5 << 24) | 3)
      expect(driver.record).to include(state: 2, request_id: (5 << 24) | 3, sequence: 5)
    end

    it "gives the environment of a POST with its body" do
      driver.put(golden("request_post_inline"))
      env = slot.receive
      expect(env).to include(**connection, "REQUEST_METHOD" => "POST", "CONTENT_LENGTH" => "11")
      expect(env["rack.input"].read).to eq("title=Hello")
    end

    it "gives the environment of a request whose body is a descriptor" do
      body = Tempfile.new("body")
      body.write("x" * 1_048_576)
      body.rewind
      driver.put(golden("request_body_fd"), [body])
      env = slot.receive
      expect(env).to include(**connection, "REQUEST_METHOD" => "PUT", "rack.url_scheme" => "https", "HTTPS" => "on")
      expect(env["rack.input"].read.bytesize).to eq(1_048_576)
    ensure
      body.close!
    end
  end

  describe "of responses" do
    let(:html) { { "Content-Type" => "text/html", "Set-Cookie" => "a=1\nb=2" } }

    before do
      driver.put(golden("request_get"))
      slot.receive
    end

    def expect_frame(name)
      expect(driver.frame.bytes).to eq(golden(name))
    end

    it "are what a complete response becomes" do
      slot.respond(200, html, ["<p>", "Hello", "</p>"])
      expect_frame("response_complete")
    end

    it "are what a streamed response becomes" do
      slot.write_head(206, html, "first")
      slot.write_body("second")
      slot.write_end
      %w[response_head response_body response_end].each { |name| expect_frame(name) }
    end

    it "are what a file becomes" do
      slot.respond_with_file(200, { "Content-Type" => "image/png" }, "/srv/app/public/logo.png", $stdin.fileno)
      frame = driver.frame
      expect(frame.bytes).to eq(golden("response_file"))
      frame.descriptor.close
    end

    it "are what a large body becomes" do
      client, socket = UNIXSocket.pair
      thread = Thread.new { slot.respond(200, { "Content-Type" => "text/plain" }, ["y" * 5_000_000]) }
      expect_frame("response_offer")
      driver.notify(:socket, socket: socket)
      expect(client.read(1000)).to eq("y" * 1000)
      client.close # so that no more is written than is in the socket
      expect(driver.frame.bytes.byteslice(0, 16)).to eq(golden("response_sent").byteslice(0, 16))
      thread.join(10)
    ensure
      socket.close
    end

    it "say how much of a large body has been written" do
      client, socket = UNIXSocket.pair
      reader = Thread.new { client.read }
      thread = Thread.new { slot.respond(200, {}, ["y" * 1_000_000]) }
      driver.frame
      driver.notify(:socket, socket: socket)
      expect_frame("response_sent")
      expect_frame("response_end")
      thread.join(10)
      socket.close
      expect(reader.value.bytesize).to eq(1_000_000)
    end

    it "are what a failure becomes" do
      slot.write_failed("RuntimeError", "boom", "app.rb:1:in `call'\napp.rb:2:in `run'")
      expect_frame("response_failed")
    end

    it "are what a hijack becomes, with and without a head" do
      { "response_hijack" => [nil, nil],
        "response_hijack_head" => [101, { "Connection" => "Upgrade", "Upgrade" => "chat" }] }.each do |name, (status, headers)|
        IO.for_fd(slot.hijack(slot.request_id, status, headers)).close
        frame = driver.frame
        expect(frame.bytes).to eq(golden(name))
        frame.descriptor.close
        slot.write_end
        driver.frame
        driver.put(golden("request_get"))
        slot.receive
      end
    end

    it "are what early hints become" do
      links = [["link", "</a.css>; rel=preload"], ["link", "</b.js>; rel=preload"]]
      expect(slot.interim(slot.request_id, links)).to be(true)
      expect_frame("response_interim")
    end

    it "are what a broken off stream becomes" do
      slot.write_head(200, {}, nil)
      slot.write_aborted
      driver.frame
      expect_frame("response_aborted")
    end
  end
end
