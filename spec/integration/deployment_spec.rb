# frozen_string_literal: true

require_relative "../support/pooling"
require_relative "../support/releases"

RSpec.describe "new code" do
  describe "by a symbolic link that is switched to another release" do
    let(:releases) { Harness::Releases.new }

    def start(**options)
      releases.deploy
      start_server(releases.current, max_pool_size: 1, log_file: File.join(releases.root, "server.log"),
                                     pid_file: File.join(releases.root, "server.pid"), **options)
    end

    # What the code of a release must find, wherever the server was started.
    def facts(number)
      release = releases.path(number)
      { "release" => number, "relative" => number.to_s, "directory" => File.join(release, "lib"), "cwd" => release, "pwd" => releases.current,
        "gemfile" => a_path_to("#{release}/Gemfile"), "load_path" => [a_path_to("#{release}/vendor/release_mark/lib")] }
    end

    # The same place, through the link or not.
    def a_path_to(real)
      satisfy("be a path to #{real}") { |path| File.realpath(path) == real }
    end

    # Looked at as long as the release is the current one: `current` may be part of what the code is told.
    def expect_release(server, number)
      eventually("release #{number}") { server.get("/").json["release"] == number }
      expect(server.get("/").json).to match(facts(number))
    end

    it "runs in its own place with its own bundle, as long as there are releases" do
      # `bundle exec` as a deployment tool runs it: in `current`, with the bundle of the first release.
      server = start(environment: { "BUNDLE_GEMFILE" => nil })
      expect_release(server, 1)
      2.upto(3) do |number|
        releases.deploy
        expect_release(server, number)
      end
      # Tools keep only the last few releases; the server was started in the first one.
      releases.remove(1)
      releases.remove(2)
      releases.deploy
      expect_release(server, 4)
      post_restart("rolling", server)
      eventually("another restart") { status(server)["restart"].values_at("active", "count") == [false, 4] }
      expect_release(server, 4)
      server.stop
    end

    it "runs with its own bundle, too, when BUNDLE_GEMFILE names that of `current`" do
      server = start(environment: { "BUNDLE_GEMFILE" => File.join(releases.current, "Gemfile") }, spawn_method: "direct")
      expect_release(server, 1)
      releases.deploy
      expect_release(server, 2)
      server.stop
    end
  end

  describe "while there is tmp/always_restart.txt" do
    def application
      Harness::Apps.directory("control", "version" => "0", "run/keep" => "")
    end

    def always(server, directory = "tmp")
      File.join(server.directory, directory, "always_restart.txt")
    end

    # The server looks for the file twice a second.
    def switch_on(server, directory = "tmp")
      FileUtils.touch(always(server, directory))
      boots = status(server)["boots"]
      eventually("a boot for a request") { version(server) && status(server)["boots"] > boots }
    end

    def switch_off(server, directory = "tmp")
      File.delete(always(server, directory))
      eventually("two requests without a boot between them") do
        boots = status(server)["boots"]
        2.times { version(server) }
        status(server)["boots"] == boots
      end
    end

    it "answers every request until the file is removed, and leaves nothing behind" do
      server = start_server(application, max_pool_size: 2, min_instances: 2, pool_idle_time: 1)
      settled(2, server)
      switch_on(server)
      (1..3).each do |number|
        deploy(number.to_s, server)
        expect(version(server)).to eq(number.to_s)
      end
      deploy("4", server)
      clients = Array.new(10) { server.connect.tap { |client| client.request("GET", "/version") } }
      expect(clients.map { |client| client.read_response.body }).to all(eq("4"))
      switch_off(server)
      settled(2, server)
      # One preloader and its two workers; each of the boots has had its own.
      eventually("an end of the former processes") { server.processes.size == 3 }
      deploy("5", server)
      expect(Array.new(10) { version(server) }.uniq).to eq(%w[4])
      server.stop
    ensure
      clients&.each(&:close)
    end

    it "in --restart-dir is code that need not boot: the last that did goes on" do
      server = start_server(application, max_pool_size: 1, restart_dir: "run")
      settled(1, server)
      FileUtils.touch(always(server))
      switch_on(server, "run")
      deploy("broken", server, code: "def broken(\n")
      expect(version(server)).to eq("0")
      expect(status(server)["boot_error"]).to include("class" => "SyntaxError")
      deploy("mended", server)
      expect(version(server)).to eq("mended")
      expect(status(server)["boot_error"]).to be_nil
      switch_off(server, "run")
      server.stop
    end

    it "loses no request, whatever comes meanwhile" do
      server = start_server(application, max_pool_size: 2)
      outcomes = Harness::Load.during(server, "/version", connections: 4) do |load|
        load.wait_for(50)
        switch_on(server)
        deploy("1", server)
        touch_restart(server)
        load.wait_for(8)
        switch_off(server)
        load.wait_for(50)
      end
      expect(outcomes.map(&:kind).tally.keys).to eq([200])
      expect(outcomes.map(&:detail).uniq).to eq(%w[0 1])
      server.stop
    end
  end
end
