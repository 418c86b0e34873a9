# frozen_string_literal: true

require_relative "../support/pooling"

RSpec.describe "a restart" do
  # Rack::Lint and a version, with room for more code.
  def application(version = "first", code: "")
    Harness::Apps.directory("control", "version" => version, "config.ru" => code + File.read(Harness::Pooling::CONTROL))
  end

  def start(directory = application, count: 3, **options)
    start_server(directory, min_instances: count, max_pool_size: count, **options).tap { |server| settled(count, server) }
  end

  # Neither fewer than before that serve, nor more than there may be, whatever else happens.
  def expect_capacity(seen, count:, extra:)
    serving = seen.map { |status| status["pool"].values_at("ready", "retiring").sum }
    expect(serving.min).to be >= count
    expect(seen.map { |status| staying(status) }.max).to be <= count + extra
  end

  # The versions that have answered a number of requests, with their frequencies.
  def versions(server, count = 30)
    Array.new(count) { version(server) }.tally
  end

  describe "worker by worker" do
    it "never has fewer workers that serve than before, nor more than --rolling-restart-size in addition" do
      server = start(count: 4, rolling_restarts: true, rolling_restart_size: 2)
      old = pids(server)
      deploy("second", server, code: Harness::Pooling::WAITING_FOR_PERMISSION)
      seen = watching(server) do |watch|
        post_restart(nil, server)
        eventually("two workers that start") { asking(server) == 2 }
        expect(versions(server).keys).to eq(%w[first])
        permit(2, server)
        eventually("the next two") { asking(server) == 4 }
        watch.wait("two old workers beside two new ones") { |status| status["pool"].values_at("ready", "retiring", "size") == [2, 2, 6] }
        expect(watch.seen.last["restart"]).to include("active" => true, "method" => "rolling")
        gate = new_gate
        clients = Array.new(4) { hold(gate, server: server) }
        holders = wait_until_entered(gate, 4, server: server)
        open_gate(gate, server: server)
        expect(clients.map { |client| client.read_response.status }).to all(eq(200))
        expect((holders & old).size).to eq(2)
        expect((holders - old).uniq.size).to eq(2)
        permit(2, server)
        settled(4, server)
      end
      expect_capacity(seen, count: 4, extra: 2)
      expect(seen.map { |status| staying(status) }.max).to eq(6)
      expect(versions(server).keys).to eq(%w[second])
      expect(pids(server) & old).to eq([])
      expect(status(server)["restart"]).to include("active" => false, "method" => "rolling", "count" => 1, "last_at" => /\A\d{4}-.*Z\z/)
      server.stop
    end

    it "that is asked for in the middle of another one replaces the workers of both" do
      server = start(count: 3, rolling_restarts: true)
      deploy("second", server, code: Harness::Pooling::WAITING_FOR_PERMISSION)
      seen = watching(server) do
        post_restart(nil, server)
        eventually("one worker that starts") { asking(server) == 1 }
        permit(1, server)
        eventually("another one") { asking(server) == 2 }
        deploy("third", server)
        touch_restart(server)
        eventually("the third version") { version(server) == "third" }
        permit(1, server) # for one that nobody needs any more
        settled(3, server)
      end
      expect_capacity(seen, count: 3, extra: 1)
      expect(versions(server).keys).to eq(%w[third])
      server.stop
    end

    it "lets requests finish, and kills their workers when --shutdown-timeout has passed" do
      server = start(count: 2, rolling_restarts: true, shutdown_timeout: 1)
      gate, other = new_gate, new_gate
      client, stuck = hold(gate, server: server), hold(other, server: server)
      holder = wait_until_entered(gate, server: server).first
      victim = wait_until_entered(other, server: server).first
      post_restart(nil, server)
      eventually("two new workers") { (pids(server) - [holder, victim]).size == 2 }
      open_gate(gate, server: server)
      expect(client.read_response.body).to eq("held by #{holder}")
      expect(stuck.read_response.status).to be_between(502, 504)
      eventually("the end of #{victim}") { !Harness::ProcFS.alive?(victim) }
      settled(2, server)
      expect(server.log).to match(/killing an application process.* worker=#{victim} .*deadline/)
      server.stop
    ensure
      [client, stuck].compact.each(&:close)
    end
  end

  describe "of all at once" do
    # Asks for the version over and over on several connections: [version, time before the request, time after the response].
    def ask_for_versions(server)
      answers = Queue.new
      done = false
      threads = Array.new(4) do
        Thread.new do
          server.connect do |client|
            until done
              before = Harness::Deadline.now
              answers << [client.get("/version").body, before, Harness::Deadline.now]
            end
          end
        end
      end
      yield answers
      done = true
      threads.each(&:join)
      Array.new(answers.size) { answers.pop }
    ensure
      done = true
      threads.each { |thread| thread.join(5) }
    end

    it "has old and new code never answer side by side" do
      server = start(count: 3)
      deploy("second", server, code: Harness::Pooling::WAITING_FOR_PERMISSION)
      answers = ask_for_versions(server) do |all|
        post_restart(nil, server)
        eventually("three workers that start") { asking(server) == 3 }
        permit(2, server)
        eventually("two of three that are ready") { pids(server).size == 5 }
        expect(versions(server).keys).to eq(%w[first])
        permit(1, server)
        settled(3, server)
        size = all.size
        eventually("more answers") { all.size > size + 50 }
      end
      new, old = answers.partition { |version, _, _| version == "second" }
      expect(old.map(&:first).uniq).to eq(%w[first])
      first_of_new = new.map(&:last).min
      expect(old.select { |_, asked, _| asked > first_of_new }).to eq([])
      expect(status(server)["restart"]).to include("method" => "blocking", "count" => 1)
      server.stop
    end

    it "kills workers whose requests take longer than --shutdown-timeout" do
      server = start(count: 1, shutdown_timeout: 1)
      gate = new_gate
      stuck = hold(gate, server: server)
      victim = wait_until_entered(gate, server: server).first
      deploy("second", server)
      touch_restart(server)
      expect(stuck.read_response.status).to be_between(502, 504)
      eventually("the end of #{victim}") { !Harness::ProcFS.alive?(victim) }
      expect(version(server)).to eq("second")
      expect(settled(1, server)["generations"].size).to eq(1)
      server.stop
    ensure
      stuck&.close
    end
  end

  describe "asked for through the admin socket" do
    serve "control", files: { "version" => "first" }, min_instances: 2, max_pool_size: 2, rolling_restarts: true

    it "is done with the method that is named, whatever the option says, and restart.txt goes by the option" do
      settled(2)
      deploy("second")
      post_restart("blocking")
      eventually("the second version alone") { settled(2) && versions(server).keys == %w[second] }
      expect(status["restart"]).to include("method" => "blocking", "count" => 1)
      deploy("third")
      touch_restart
      eventually("the third version alone") { settled(2) && versions(server).keys == %w[third] }
      expect(status["restart"]).to include("method" => "rolling", "count" => 2)
      expect(server.log).to include("restart.txt has changed").and include("asked for through the admin socket")
    end

    it "is refused with another method" do
      settled(2)
      before = status["restart"]
      expect(admin.post("/restart", '{"method":"slowly"}')).to have_attributes(status: 400, body: /slowly.*blocking.*rolling/)
      expect(admin.post("/restart", '{"how":"rolling"}')).to have_attributes(status: 400, body: /how.*method/)
      expect(status["restart"]).to eq(before)
    end
  end

  describe "with code that does not boot" do
    SYNTAX_ERROR = "def broken(\n"
    AFTER_FORK_ERROR = "PhusionPassenger.on_event(:starting_worker_process) { raise IOError, 'no database today' }\n"
    AFTER_FORK_END = "PhusionPassenger.on_event(:starting_worker_process) { exit!(7) }\n"

    %w[blocking rolling].each do |method|
      describe "and the method #{method}" do
        serve "control", files: { "version" => "first" }, min_instances: 2, max_pool_size: 2, environment: { "RACK_ENV" => "production" }

        before do
          deploy("first")
          settled(2)
        end

        {
          "because of a syntax error" => [SYNTAX_ERROR, "SyntaxError", /config\.ru:1: syntax error|config\.ru:\d+: .*syntax/m],
          "because its workers fail after they have been forked" => [AFTER_FORK_ERROR, "IOError", /no database today/],
          "because its workers end after they have been forked" => [AFTER_FORK_END, "WorkerDied", /ended while it was starting/]
        }.each do |reason, (code, kind, message)|
          it "#{reason} leaves the old workers serving and says why, until it is mended" do
            before = pids
            count = status["restart"]["count"]
            deploy("broken", code: code)
            seen = watching do |watch|
              post_restart(method)
              watch.wait("the error in the status") { |status| status["boot_error"] }
              watch.wait("an end of the attempt") { |status| !status["restart"]["active"] && status["generations"].size == 1 }
              expect(versions(server, 10).keys).to eq(%w[first])
            end
            expect(seen.map { |status| status["pool"].values_at("ready", "retiring").sum }.min).to eq(2)
            expect(pids).to match_array(before)
            expect(status).to include("state" => "serving", "boot_error" => a_hash_including("class" => kind, "message" => message))
            expect(server.log).to include(status["boot_error"]["id"]).and match(message).and include("restart given up")
            expect(status["restart"]).to include("active" => false, "count" => count)

            deploy("first")
            post_restart(method)
            eventually("new workers") { settled(2) && (pids & before).empty? }
            expect(status).to include("boot_error" => nil, "restart" => a_hash_including("count" => count + 1))
          end
        end
      end
    end

    [["of the boot", SYNTAX_ERROR, "SyntaxError"], ["after the fork", AFTER_FORK_ERROR, "no database today"]].each do |where, code, text|
      it "shows the error #{where} to everybody with --no-resist-deployment-errors, until it is mended" do
        server = start(count: 2, resist_deployment_errors: false, friendly_error_pages: true)
        deploy("broken", server, code: code)
        touch_restart(server)
        eventually("the error page") { server.get("/version").body.include?(text) }
        expect(server.get("/version").status).to eq(500)
        eventually("the end of the old workers") { server.workers.empty? }
        expect(status(server)).to include("state" => "failed").or include("state" => "booting")
        deploy("mended", server)
        touch_restart(server)
        eventually("the mended version") { version(server) == "mended" }
        expect(settled(2, server)).to include("boot_error" => nil)
        server.stop
      end
    end
  end
end
