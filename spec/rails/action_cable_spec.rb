# frozen_string_literal: true

require "json"

# Action Cable with the adapters async, as it comes, and passenger.
RSpec.describe "Action Cable" do
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

    # Rails' own log is there, too.
    it "leaves nothing odd on the terminal" do
      subscribed(1).finish
      said = server.output.lines.map(&:strip)
      expect(said.grep(/warning: |\Apassenger\b|hijack/i)).to eq([])
      expect(said).to include(a_string_starting_with("=> Booting Passenger"), a_string_starting_with("* Passenger"))
    end
  end

  context "under passenger start in production, with one process" do
    serve_bulletin(max_pool_size: 1, unlimited_concurrency_path: ["/cable"])

    include_examples "the example application's comments"

    it "needs no paths with unlimited concurrency, and the log says so in one line" do
      expect(server.said.scan(/^passenger: unlimited_concurrency_paths \(\/cable\) is not needed: .*$/).size).to eq(1)
    end
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
