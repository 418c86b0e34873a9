# frozen_string_literal: true

# The libraries are in no bundle of this project's: they are the system's.
RSpec.describe "WebSockets" do
  def open_socket(**options)
    Harness::WebSocket.new(server, "/", **options)
  end

  shared_examples "WebSockets of a library" do
    it "shake hands and carry messages of any size" do
      socket = open_socket
      ["hello", "x" * 1000, "y" * 200_000].each do |text|
        socket.send_text(text)
        expect(socket.receive).to eq(text.upcase)
      end
      socket.finish
    end

    it "close by handshake" do
      socket = open_socket
      socket.finish
      expect(server.get("/").body).to eq("no WebSocket")
    end

    it "are many beside ordinary requests, with one thread" do
      sockets = Array.new(50) { open_socket }
      sockets.each_with_index { |socket, i| socket.send_text("message #{i}") }
      expect(server.get("/").body).to eq("no WebSocket")
      expect(sockets.map(&:receive)).to eq(Array.new(50) { |i| "MESSAGE #{i}" })
      sockets.each(&:finish)
    end
  end

  context "of websocket-driver" do
    serve("websocket", bundled: false, max_pool_size: 1)

    include_examples "WebSockets of a library"

    # No client may do so by the protocol, and faye-websocket does not expect it; but the bytes are there.
    it "may bring their first message along with the request" do
      socket = open_socket(early: "eager")
      expect(socket.receive).to eq("EAGER")
      socket.finish
    end
  end

  context "of faye-websocket" do
    before(:context) do
      found = system(Harness::Suite.environment.except("BUNDLE_GEMFILE"), "ruby", "-e", 'require "faye/websocket"', err: File::NULL, unsetenv_others: true)
      skip "faye-websocket is not installed" unless found
    end

    serve("faye", bundled: false, max_pool_size: 1)

    include_examples "WebSockets of a library"

    it "carry server-sent events, too" do
      response = server.get("/", "Accept" => "text/event-stream")
      expect(response["content-type"]).to start_with("text/event-stream")
      expect(response.body.scan(/^data: (.*?)\r?$/).flatten).to eq(["number 0", "number 1", "number 2"])
    end

    it "are closed with the application's own code when their process leaves" do
      socket = open_socket
      socket.send_text("here")
      expect(socket.receive).to eq("HERE")
      FileUtils.touch(File.join(server.directory, "tmp/restart.txt"))
      expect(socket.receive).to be_nil
      expect(socket.close_code).to eq(4000)
      socket.finish
    end
  end
end
