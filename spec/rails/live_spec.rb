# frozen_string_literal: true

RSpec.describe "ActionController::Live and early hints" do
  LISTENING = <<~'RUBY'
    class ListeningController < ActionController::Base
      include ActionController::Live

      # Says hello, then does what the spec wants to see interrupted.
      def show
        response.headers["Content-Type"] = "text/event-stream"
        response.headers["Last-Modified"] = Time.now.httpdate
        response.stream.write("data: hello\n\n")
        wait = { "pop" => -> { Thread::Queue.new.pop(timeout: nil) }, "gate" => -> { sleep 0.01 until gate.exist? },
                 "connected" => -> { sleep 0.01 while response.stream.connected? } }.fetch(params[:id])
        wait.call
        record("connected? is #{response.stream.connected?}")
        response.stream.write("data: nobody\n\n")
        record("written")
      rescue ActionController::Live::ClientDisconnected
        record("ClientDisconnected")
      rescue IOError => e
        record("IOError #{e.message}")
      ensure
        response.stream.close
        record("over")
      end

      private

      def gate = Rails.root.join("tmp/gate")

      def record(line)
        File.write(Rails.root.join("tmp/records"), "#{line}\n", mode: "a")
      end
    end
  RUBY

  before(:context) do
    # Queue#pop has no timeout before Ruby 3.2, and none is wanted.
    controller = LISTENING.sub("pop(timeout: nil)", "pop")
    directory = Harness::Bulletin.production({ "app/controllers/listening_controller.rb" => controller },
                                             routes: "get \"listening/:id\", to: \"listening#show\"")
    @server = Harness.server(directory, environment: Harness::Bulletin.environment(directory), max_pool_size: 1, thread_count: 2,
                                        early_hints: true).start
  end

  after(:context) do
    @server.stop
  ensure
    @server.destroy if @server.running?
  end

  def records
    path = File.join(server.directory, "tmp/records")
    File.exist?(path) ? File.readlines(path, chomp: true) : []
  end

  def leave(id)
    server.connect do |client|
      client.request("GET", "/listening/#{id}")
      expect(client.read_response_head).to eq(200)
      eventually("the first event") { client.stray_bytes(0.01).include?("data: hello") }
    end
  end

  def expect_no_streams
    eventually("end of the stream for the server") { admin.status.dig("pool", "streams").zero? }
  end

  before { FileUtils.rm_f(%w[records gate].map { |name| File.join(server.directory, "tmp", name) }) }

  it "tells an action that does not write that its client has gone" do
    leave("connected")
    eventually(-> { "end of the action (#{records})" }) { records.last == "over" }
    expect(records).to eq(["connected? is false", "ClientDisconnected", "over"])
    expect_no_streams
  end

  it "raises ClientDisconnected at the next write, and gives the request's thread back before" do
    leave("gate")
    expect_no_streams
    expect(records).to eq([])
    FileUtils.touch(File.join(server.directory, "tmp/gate"))
    eventually(-> { "end of the action (#{records})" }) { records.last == "over" }
    expect(records).to eq(["connected? is false", "ClientDisconnected", "over"])
  end

  it "gives the threads back of actions that never end, again and again" do
    6.times do
      leave("pop")
      expect_no_streams
    end
    expect(server.get("/posts").status).to eq(200)
    expect(server.said).not_to match(/ClientGone|telling the application/)
  end

  it "sends the assets of a page as early hints" do
    server.connect do |client|
      client.request("GET", "/posts")
      expect(client.read_status_line[1]).to eq(103)
      links = client.read_headers
      expect(links.map(&:first).uniq).to eq(%w[link])
      expect(links.map(&:last)).to include(match(%r{\A</assets/application-\h+\.css>; rel=preload; as=style}))
      expect(client.read_response.status).to eq(200)
    end
  end
end
