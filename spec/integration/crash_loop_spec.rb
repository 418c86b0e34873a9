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

  it "of new code that is rolled out leave the old workers serving, without a lost request, until it is mended" do
    server = start_server(application(""), max_pool_size: 3, min_instances: 3, rolling_restarts: true)
    old = settled(3, server)["workers"].map { |worker| worker["pid"] }
    outcomes = Harness::Load.during(server, "/version", connections: 4) do |load|
      load.wait_for(50)
      deploy("broken", server, code: ENDS_WHEN_READY)
      touch_restart(server)
      eventually("the error in the status") { status(server)["boot_error"] }
      load.wait_for(200)
      expect(status(server)["boot_error"]["message"]).to include("ended")
      expect(pids(server)).to match_array(old)
      deploy("mended", server)
      touch_restart(server)
      eventually("the mended version") { version(server) == "mended" }
      settled(3, server)
      load.wait_for(50)
    end
    expect(outcomes.map { |outcome| [outcome.kind, outcome.detail] }.tally.keys).to contain_exactly([200, "first"], [200, "mended"])
    server.stop
  end
end
