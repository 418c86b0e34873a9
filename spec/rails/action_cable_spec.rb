# frozen_string_literal: true

require "json"

# Action Cable as it comes, with the async adapter.
RSpec.describe "Action Cable" do
  shared_examples "the example application's comments" do
    let(:visitor) { Harness::Visitor.new(server) }

    after do
      visitor.close
      sockets.each(&:close)
    end

    def sockets = @sockets ||= []

    def cable(origin: "http://127.0.0.1:#{server.port}")
      Harness::WebSocket.new(server, "/cable", "Origin" => origin, "Sec-WebSocket-Protocol" => "actioncable-v1-json")
                        .tap { |socket| sockets << socket }
    end

    # The next message of the type, or, without a type, the next that is for a channel; pings come in between.
    def receive(socket, type)
      loop do
        message = JSON.parse(socket.receive || raise("the server has closed the socket"))
        return message if message["type"] == type
      end
    end

    def subscribed(post)
      cable.tap do |socket|
        receive(socket, "welcome")
        identifier = JSON.generate(channel: "CommentsChannel", post_id: post)
        socket.send_text(JSON.generate(command: "subscribe", identifier: identifier))
        expect(receive(socket, "confirm_subscription")["identifier"]).to eq(identifier)
      end
    end

    def comment_on(post, body)
      visitor.visit("/session/new")
      visitor.submit("/session", "name" => "Ada")
      visitor.visit("/posts/#{post}")
      visitor.submit("/posts/#{post}/comments", "comment[body]" => body)
    end

    it "reach everybody who has the post open" do
      readers = Array.new(3) { subscribed(1) }
      stranger = subscribed(2)
      comment_on(1, "seen by all")
      readers.each { |reader| expect(receive(reader, nil).dig("message", "html")).to include("seen by all") }
      comment_on(2, "seen by one")
      expect(receive(stranger, nil).dig("message", "html")).to include("seen by one")
    end

    it "are kept from pages of other origins" do
      expect { cable(origin: "http://evil.example") }.to raise_error(Harness::WebSocket::Refused, /404/)
    end

    it "don't occupy the application's threads" do
      readers = Array.new(20) { subscribed(1) }
      expect(server.get("/posts/1").status).to eq(200)
      readers.each(&:finish)
    end
  end

  context "under rails server in development" do
    before(:context) do
      @server = Harness::RailsServer.new(Harness::Bulletin.copy)
      @server.start
    end

    after(:context) do
      @server.stop
    ensure
      @server.destroy if @server.running?
    end

    attr_reader :server

    include_examples "the example application's comments"
  end

  context "under passenger start in production, with one process" do
    serve_bulletin(max_pool_size: 1)

    include_examples "the example application's comments"
  end
end
