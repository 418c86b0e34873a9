# frozen_string_literal: true

require "json"

# Action Cable with the adapters async, as it comes, and passenger.
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

  context "under rails server in development, with the adapter passenger" do
    before(:context) do
      @server = Harness::RailsServer.new(Harness::Bulletin.copy, environment: { "CABLE_ADAPTER" => "passenger" })
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

  context "under passenger start in production, with three processes and the adapter passenger" do
    serve_bulletin(max_pool_size: 3, min_instances: 3, environment: { "CABLE_ADAPTER" => "passenger" })

    before(:context) { Harness.eventually("three processes") { Harness::Admin.of(@server).status["pool"]["ready"] == 3 } }

    include_examples "the example application's comments"

    def broker = admin.status["cable"]

    def run_beside(code)
      run_command(["bundle", "exec", "rails", "runner", code], directory: server.directory, within: 60,
                  environment: { **Harness::Bulletin.environment(server.directory), "RAILS_ENV" => "production",
                                 "CABLE_ADAPTER" => "passenger", "PASSENGER_INSTANCE_REGISTRY_DIR" => server.registry })
    end

    # Until each of the processes has some.
    def spread_readers(post)
      readers = []
      eventually("readers in three processes") do
        readers << subscribed(post)
        broker["subscriptions"] == 3
      end
      readers
    end

    before { eventually("the end of earlier readers") { broker["subscriptions"].zero? } }

    it "reach the readers that other processes serve, in order" do
      readers = spread_readers(3)
      bodies = Array.new(5) { |number| "comment number #{number}" }
      bodies.each { |body| comment_on(3, body) }
      readers.each do |reader|
        bodies.each { |body| expect(receive(reader, nil).dig("message", "html")).to include(body) }
      end
    end

    it "reach them from a console" do
      readers = spread_readers(4)
      result = run_beside('CommentsChannel.announce(Post.find(4).comments.create!(author: "Ada", body: "from a console"))')
      expect(result.status).to be_success, result.to_s
      readers.each { |reader| expect(receive(reader, nil).dig("message", "html")).to include("from a console") }
    end

    it "reach readers that have come to new processes after a restart" do
      spread_readers(5)
      FileUtils.touch(File.join(server.directory, "tmp", "restart.txt"))
      eventually("new processes") { admin.status.then { |status| status["boots"] >= 2 && status["generations"].size == 1 && status["pool"]["ready"] == 3 } }
      late = Array.new(3) { subscribed(5) }
      comment_on(5, "after the restart")
      late.each { |reader| expect(receive(reader, nil).dig("message", "html")).to include("after the restart") }
    end
  end

  it "with the adapter passenger says in a console that no server runs" do
    directory = Harness::Bulletin.production
    result = run_command(%w[bundle exec rails runner] + ['ActionCable.server.broadcast("chat", "x")'], directory: directory, within: 60,
                         environment: { **Harness::Bulletin.environment(directory), "RAILS_ENV" => "production", "CABLE_ADAPTER" => "passenger",
                                        "PASSENGER_INSTANCE_REGISTRY_DIR" => Harness::Suite.new_directory("registry") })
    expect(result.status).not_to be_success
    expect(result.err).to match(/adapter passenger needs the application to be served by passenger: no running server of #{directory} \(production\)/)
  end
end
