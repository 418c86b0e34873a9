# frozen_string_literal: true

require_relative "../support/pooling"

RSpec.describe "workers that keep failing" do
  # In the thread that is about to take requests: the worker has said that it is ready.
  ENDS_WHEN_READY = "PhusionPassenger.on_event(:starting_request_handler_thread) { exit!(9) }\n"
  # While a file says so, as if a database were down.
  FAILS_FOR_A_WHILE = <<~RUBY
    PhusionPassenger.on_event(:starting_worker_process) { raise IOError, "no database today" if File.exist?(File.join(__dir__, "down")) }
  RUBY

  def application(code)
    Harness::Apps.directory("control", "version" => "first", "config.ru" => code + File.read(Harness::Pooling::CONTROL))
  end

  def starts(server)
    server.log.scan("application process ready").size
  end

  # Workers that serve have shown that it is over.
  def expect_an_end_of_the_loop(server)
    eventually("an end of the crash loop in the status") do
      expect(server.get("/version").status).to eq(200)
      pool(server).values_at("crash_loop", "failures") == [false, 0]
    end
  end

  it "by ending as soon as they are ready are started at growing distances; the next restart is free of that, and requests have waited" do
    server = start_server(application(ENDS_WHEN_READY), max_pool_size: 2, min_instances: 1)
    client = server.connect
    client.request("GET", "/version")
    eventually("a crash loop in the status") { pool(server)["crash_loop"] }
    # The fourth failure has brought a second; an unbraked loop would have hundreds by then.
    eventually("another start") { pool(server)["failures"] >= 5 }
    expect(starts(server)).to be_between(5, 7)
    expect(pool(server)["size"]).to be <= 1
    expect(server.log).to match(/application processes keep failing; the next one is started later failures=\d+ delay=/)
    # Nothing that the application says about it in exceptions: it has been able to start.
    deploy("second", server)
    touch_restart(server)
    expect(client.read_response).to have_attributes(status: 200, body: "second")
    settled(1, server)
    expect_an_end_of_the_loop(server)
    server.stop
  ensure
    client&.close
  end

  it "while they start leave the others serving, and the pool is whole again by itself when they can start" do
    server = start_server(application(FAILS_FOR_A_WHILE), max_pool_size: 2, min_instances: 2)
    victim, survivor = settled(2, server)["workers"].map { |worker| worker["pid"] }
    down = Harness::Apps.write(server.directory, "down", "")
    Process.kill(:KILL, victim)
    eventually("a crash loop in the status") { pool(server)["crash_loop"] }
    expect(status(server)).to include("state" => "serving", "boot_error" => a_hash_including("class" => "IOError", "message" => /no database today/))
    expect(Array.new(10) { server.get("/pid").body }.uniq).to eq([survivor.to_s])
    # The end of the victim counts, too; an unbraked loop would have hundreds by then.
    expect(server.log.scan("application process could not start").size).to be_between(3, 6)
    File.delete(down)
    expect(settled(2, server)).to include("boot_error" => nil)
    expect_an_end_of_the_loop(server)
    server.stop
  end

  it "by ending after a request are replaced at once: they have served" do
    ends_after_a_request = <<~RUBY
      use(Class.new do
        def initialize(app) = @app = app
        def call(env) = @app.call(env).tap { Process.kill(:TERM, Process.pid) }
      end)
    RUBY
    server = start_server(application(ends_after_a_request), max_pool_size: 1)
    settled(1, server)
    workers = Array.new(8) do
      pid = server.get("/pid").body
      eventually("another worker than #{pid}") { pids(server).then { |ready| ready.any? && !ready.include?(pid.to_i) } }
      pid
    end
    expect(workers.uniq.size).to eq(8)
    expect(pool(server)).to include("crash_loop" => false, "failures" => 0)
    expect(server.log).not_to include("keep failing")
    server.stop
  end
end
