# frozen_string_literal: true

# What becomes of Action Cable's clients when their processes leave.
RSpec.describe "Action Cable's clients" do
  SERIES = {
    "app/channels/series_channel.rb" => <<~RUBY,
      class SeriesChannel < ApplicationCable::Channel
        def subscribed = stream_from("series")
      end
    RUBY
    "app/controllers/series_controller.rb" => <<~RUBY
      class SeriesController < ApplicationController
        def show
          ActionCable.server.broadcast("series", { number: Integer(params[:number]) })
          render plain: params[:number]
        end
      end
    RUBY
  }.freeze
  CLIENTS = ENV["PROJECT_FULL"] ? 1000 : 100
  # Broadcasts before a restart, and after it
  AROUND = 5

  attr_reader :server, :crowd

  before(:context) do
    @directory = Harness::Bulletin.production(SERIES, routes: "get 'series/:number', to: 'series#show'")
  end

  def serve(**options)
    @server = Harness::BulletinServer.new(@directory, environment: { "CABLE_ADAPTER" => "passenger" }, min_instances: 3, max_pool_size: 3, rolling_restarts: true,
                                                      max_request_queue_size: 0, **options)
    started << @server
    @server.start
    eventually("the start of the application", within: Harness::Server::BOOT_SECONDS) { @server.get("/probe/pid").status == 200 && ready.size == 3 }
  end

  def status = Harness::Admin.of(@server).status

  def ready = status["workers"].select { |worker| worker["state"] == "ready" }.map { |worker| worker["pid"] }

  # Broadcasts until the block is through, one after the other, and a few more.
  def broadcasting
    finished = false
    thread = Thread.new do
      server.connect do |client|
        left = AROUND
        while !finished || (left -= 1) >= 0
          crowd.begun += 1
          response = client.get("/series/#{crowd.begun}")
          raise response.inspect unless response.status == 200

          sleep CLIENTS / 5000.0 # so many messages per second are enough for the clients, too
        end
      end
    end
    eventually("the first broadcasts") { crowd.begun > AROUND || !thread.alive? }
    yield
  ensure
    finished = true
    thread&.join
  end

  def restart
    before = ready
    FileUtils.touch(File.join(@directory, "tmp/restart.txt"))
    began = Harness::Deadline.now
    eventually("the end of the old processes", within: 90) { (before & Harness::ProcFS.pids.select { |pid| Harness::ProcFS.alive?(pid) }).empty? && ready.size == 3 }
    crowd.all_confirmed(within: 60)
    report(Harness::Deadline.now - began) if ENV["PROJECT_FULL"]
  end

  def report(seconds)
    away = crowd.sessions.map(&:away).compact.sort
    puts format("%d clients: the restart took %.1f s, %d connections were replaced, a client was away for %.2f s (median), at most %.2f s",
                crowd.clients.size, seconds, away.size, away[away.size / 2], away.last)
  end

  it "are told, close properly, are back soon, and miss nothing that is broadcast after their confirmation" do
    serve
    gather(CLIENTS)
    broadcasting { restart }
    last = crowd.begun
    eventually(-> { "number #{last} for everybody" }) { crowd.clients.all? { |client| client.session.numbers.include?(last) } }

    expect(crowd.clients.flat_map { |client| client.session.lost(last) }).to eq([])
    former = crowd.clients.flat_map { |client| client.sessions[0..-2] }
    expect(former.size).to be >= CLIENTS
    expect_proper_end(former)
    expect(server.said).not_to match(/killing an application process/)

    # At the end of the server they are told the same.
    sessions = crowd.clients.map(&:session)
    server.stop
    crowd.finish
    expect_proper_end(sessions)
  end

  def gather(number)
    @crowd = Harness::CableCrowd.new(server, number, channel: "SeriesChannel")
    crowd.all_confirmed(within: 60)
  end

  def expect_proper_end(sessions)
    expect(sessions.map(&:farewell)).to all(include("type" => "disconnect", "reason" => "server_restart", "reconnect" => true))
    expect(sessions.map(&:close_code)).to all(eq(1000))
  end

  it "may stay when their processes are to leave, and are told the same shortly before the deadline" do
    serve(abort_websockets_on_process_shutdown: false, shutdown_timeout: 6)
    gather(9)
    restart
    former = crowd.clients.flat_map { |client| client.sessions[0..-2] }
    expect(former.size).to be >= 9
    expect_proper_end(former)
    expect(server.said).not_to match(/killing an application process/)
    crowd.finish
  end
end
