# frozen_string_literal: true

require_relative "../support/pooling"

RSpec.describe "requests that wait for a worker" do
  # Requests that the application writes down when it gets them.
  def notes(server)
    path = File.join(server.directory, "notes")
    File.exist?(path) ? File.readlines(path, chomp: true) : []
  end

  def send_notes(names, server)
    names.to_h { |name| [name, server.connect.tap { |client| client.request("GET", "/note?name=#{name}") }] }
  end

  # Until the server has got all of them.
  def expect_arrival(server, count)
    last = nil
    eventually(-> { "arrival of #{count} requests, the queue is #{last}" }) do
      last = status(server)
      last["requests"] >= count
    end
  end

  # A server with one worker, which is busy.
  def busy_server(**options)
    server = start_server(Harness::Apps.directory("limits"), max_pool_size: 1, **options)
    @gate = new_gate
    @holder = hold(@gate, server: server)
    wait_until_entered(@gate, server: server)
    server
  end

  def finish(server)
    open_gate(@gate, server: server)
    expect(@holder.read_response.status).to eq(200)
  end

  after do
    @holder&.close
    @clients&.each_value(&:close)
  end

  it "are refused with 503 and Retry-After when there are more of them than --max-request-queue-size" do
    server = busy_server(max_request_queue_size: 3)
    @clients = send_notes((1..20).map(&:to_s), server)
    expect_arrival(server, 21)
    full = status(server)["queue"]["full"]
    # A few more than may wait in line are on their way to the worker.
    expect(full).to be >= 20 - 3 - 5
    refused = eventually("answers to those that may not wait") do
      @clients.select { |_, client| client.socket.wait_readable(0) }.then { |some| some if some.size == full }
    end
    responses = refused.values.map(&:read_response)
    expect(responses.map(&:status)).to all(eq(503))
    expect(responses.map { |response| response["retry-after"] }).to all(match(/\A[1-9]\d*\z/))
    expect(responses.map(&:body)).to all(include("Service Unavailable").and(include("try again")))
    expect(status(server)["queue"]).to include("limit" => 3, "full" => refused.size)
    finish(server)
    expect((@clients.values - refused.values).map { |client| client.read_response.status }).to all(eq(200)).and have_attributes(size: (3..8))
    expect(notes(server)).to match_array(@clients.keys - refused.keys)
    # The connections of those that were refused go on.
    expect(refused.values.first.get("/note?name=again").status).to eq(200)
    server.stop
  end

  it "are refused with 503 and the application's own page in production" do
    server = busy_server(max_request_queue_size: 1, environment: { "RACK_ENV" => "production" })
    Harness::Apps.write(server.directory, "public/503.html", "<p>back in a minute</p>")
    @clients = send_notes((1..12).map(&:to_s), server)
    refused = eventually("an answer to one that may not wait") { @clients.values.find { |client| client.socket.wait_readable(0) } }
    response = refused.read_response
    expect(response).to have_attributes(status: 503, body: "<p>back in a minute</p>")
    expect(response["retry-after"]).to match(/\A[1-9]\d*\z/)
    finish(server)
    server.stop
  end

  it "get 504 after --max-request-queue-time and never reach the application, while the one in work finishes" do
    server = busy_server(max_request_queue_time: 1)
    @clients = send_notes((1..12).map(&:to_s), server)
    responses = @clients.values.map(&:read_response)
    expect(responses.map(&:status)).to all(eq(504))
    expect(status(server)["queue"]).to include("timed_out" => 12, "waiting" => 0)
    finish(server)
    expect(@clients["1"].get("/note?name=later").status).to eq(200)
    expect(notes(server)).to eq(%w[later])
    expect(server.log).to include("max_request_queue_time")
    server.stop
  end

  [["a port", {}], ["a Unix socket", { socket: true }]].each do |place, options|
    it "are forgotten when their clients hang up, on #{place}: no work is done for them, and others keep their places" do
      options = { socket: File.join(Harness::Suite.new_directory("socket"), "web.sock") } if options[:socket]
      server = busy_server(max_request_queue_size: 0, **options)
      names = (1..120).map(&:to_s)
      @clients = send_notes(names, server)
      expect_arrival(server, 121)
      # Every sixth stays, among the first, which are on their way to the worker, as among the others.
      staying, leaving = names.partition { |name| (name.to_i % 6).zero? }
      leaving.each_slice(5) do |several|
        several[0..2].each { |name| @clients[name].close }
        @clients[several[3]].then { |client| options[:socket] ? client.close : client.reset }
        @clients[several[4]].half_close
      end
      eventually(-> { "the server's look at who has hung up, the queue is #{status(server)["queue"]}" }) do
        status(server)["queue"]["abandoned"] == leaving.size
      end
      finish(server)
      expect(@clients.values_at(*staying).map { |client| client.read_response.status }).to all(eq(200))
      expect(server.get("/note?name=last").status).to eq(200)
      expect(notes(server)).to match_array([*staying, "last"])
      expect(status(server)["queue"]).to include("waiting" => 0, "full" => 0)
      server.stop
    end
  end

  it "and those in work are not confused when clients hang up all the time" do
    server = start_server(Harness::Apps.directory("limits"), max_pool_size: 2, min_instances: 2, max_request_queue_size: 0)
    settled(2, server)
    done = false
    vanishing = Thread.new do
      until done
        clients = Array.new(8) { server.connect.tap { |client| client.request("GET", "/note?name=vanishing") } }
        sleep 0.03
        clients.each(&:close)
      end
    end
    outcomes = Harness::Load.during(server, connections: 6) { |load| load.wait_for(1500) }
    done = true
    vanishing.join
    expect(outcomes.map(&:kind).tally.keys).to eq([200])
    eventually("a pool with nothing to do") { status(server).then { |now| now["queue"]["waiting"].zero? && now["workers"].all? { |worker| worker["working"].zero? } } }
    server.stop
  ensure
    done = true
    vanishing&.join
  end
end
