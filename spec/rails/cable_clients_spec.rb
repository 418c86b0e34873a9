# frozen_string_literal: true

# Rails' own clients, of the oldest and the newest Rails, with three processes.
RSpec.describe "Rails' client of Action Cable in Node" do
  before(:context) { skip "the clients are not installed: run bin/setup test" unless Harness::NodeClient.installed? }

  serve_bulletin(max_pool_size: 3, min_instances: 3, environment: { "CABLE_ADAPTER" => "passenger" })

  include_context "with clients of Action Cable"

  let(:clients) { Harness::NodeClient::VERSIONS.keys.to_h { |version| [version, Harness::NodeClient.new(server, 1, version: version, stale_seconds: 4)] } }

  after { clients.each_value(&:finish) }

  it "gets comments, is told of a restart, and comes back for more" do
    clients.each_value { |client| client.expect("connected") }
    comment_on(1, "before the restart")
    clients.each_value { |client| expect(client.expect("received")["html"]).to include("before the restart") }

    FileUtils.touch(File.join(server.directory, "tmp/restart.txt"))
    clients.each_value do |client|
      expect(client.expect("closed")["code"]).to eq(1000)
      expect(client.expect("disconnected")["willAttemptReconnect"]).to be(true)
    end
    clients.each_value { |client| client.expect("connected") }
    comment_on(1, "after the restart")
    clients.each_value { |client| expect(client.expect("received")["html"]).to include("after the restart") }
  end
end
