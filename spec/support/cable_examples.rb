# frozen_string_literal: true

# The live comments of the example application. `server` is what the clients talk to.
RSpec.shared_context "with clients of Action Cable" do
  let(:visitor) { Harness::Visitor.new(server) }
  let(:origin) { "http://#{server.address.join(":")}" }

  after do
    visitor.close
    sockets.each(&:close)
  end

  def sockets = @sockets ||= []

  def cable(origin: self.origin, **headers)
    Harness::WebSocket.new(server, "/cable", "Origin" => origin, "Sec-WebSocket-Protocol" => "actioncable-v1-json", **headers)
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
    expect(visitor.page.status).to eq(302), visitor.page.inspect
  end
end

RSpec.shared_examples "the example application's comments" do
  include_context "with clients of Action Cable"

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

# With several processes; `application` is the server under test, which may stand behind `server`.
RSpec.shared_examples "comments that reach every process" do
  include_context "with clients of Action Cable"

  def holding = Harness::Admin.of(application).status["workers"].map { |worker| worker["hijacked"] }

  it "reach the readers of each of them" do
    readers = [subscribed(1)]
    until holding.all?(&:positive?)
      raise "#{readers.size} readers are at #{holding}" if readers.size > 200

      readers << subscribed(1)
    end
    expect(holding.size).to be > 1
    comment_on(1, "from one process to all")
    readers.each { |reader| expect(receive(reader, nil).dig("message", "html")).to include("from one process to all") }
  end
end
