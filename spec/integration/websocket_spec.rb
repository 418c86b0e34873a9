# frozen_string_literal: true

RSpec.describe "WebSockets of websocket-driver" do
  # The library is in no bundle of this project's: it is the system's.
  serve("websocket", bundled: false, max_pool_size: 1)

  def open_socket(**options)
    Harness::WebSocket.new(server, "/", **options)
  end

  it "shake hands and carry messages of any size" do
    socket = open_socket
    ["hello", "x" * 1000, "y" * 200_000].each do |text|
      socket.send_text(text)
      expect(socket.receive).to eq(text.upcase)
    end
    socket.finish
  end

  it "may bring their first message along with the request" do
    socket = open_socket(early: "eager")
    expect(socket.receive).to eq("EAGER")
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
