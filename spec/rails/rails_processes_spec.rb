# frozen_string_literal: true

# What the processes of a Rails application in development are, and what its other commands see of the server's API.
RSpec.describe "a Rails application that uses PhusionPassenger" do
  include Harness::Pool

  API = <<~RUBY
    PhusionPassenger.require_passenger_lib "rack/out_of_band_gc"
    Rails.application.config.middleware.use PhusionPassenger::Rack::OutOfBandGc, 3
    PhusionPassenger.on_event(:oob_work) { File.write(Rails.root.join("tmp", "events"), "collecting \#{Process.pid}\\n", mode: "a") }
  RUBY

  # A request that is held (see Harness::Gates).
  HOLD = <<~RUBY
    def hold
      File.write(Rails.root.join("entered-\#{params[:gate]}"), "\#{Process.pid}\\n", mode: "a")
      sleep 0.01 until Rails.root.join("gate-\#{params[:gate]}").exist?
      render plain: "held by \#{Process.pid}"
    end

    def never_called
  RUBY

  TASK = <<~RUBY
    task use_api: :environment do
      PhusionPassenger.on_event(:starting_worker_process) { raise "this is no worker" }
      puts "rake: \#{Post.count.positive?}"
    end
  RUBY

  def application(files = {})
    Harness::Bulletin.copy("config/initializers/server_api.rb" => API, "lib/tasks/use_api.rake" => TASK, **files).tap do |directory|
      Harness::Bulletin.edit(directory, "app/controllers/probe_controller.rb") { |text| text.sub("def hold\n", HOLD) }
    end
  end

  def run_rails(directory, *arguments, **rest)
    environment = Harness::Bulletin.environment(directory)
    run_command(["bundle", "exec", "rails", *arguments], directory: directory, environment: environment, **rest)
  end

  describe "under rails server in development" do
    before(:context) do
      @server = Harness::RailsServer.new(application)
      @server.start
      @server.get("/probe/pid", within: Harness::Server::BOOT_SECONDS)
    end

    after(:context) do
      @server.stop
    ensure
      @server.destroy if @server.running?
    end

    before { ready_workers(1) }

    it "is one process with five threads" do
      gate = new_gate
      clients = Array.new(5) { hold(gate, path: "/probe/hold") }
      pids = wait_until_entered(gate, 5)
      expect(pids.uniq).to eq(server.workers)
      expect(admin.status).to include("pool" => a_hash_including("size" => 1, "max" => 1, "threads" => 5, "target" => 1),
                                      "workers" => [a_hash_including("pid" => pids.first, "slots" => 5, "working" => 5)])
      sixth = hold(gate, path: "/probe/hold")
      expect(admin.status["workers"].size).to eq(1)
      expect(entered(gate).size).to eq(5)
      open_gate(gate)
      expect([*clients, sixth].map { |client| client.read_response.body }).to all(eq("held by #{pids.first}"))
    ensure
      [*clients, sixth].compact.each(&:close)
    end

    it "lets requests finish at a restart by tmp/restart.txt, while new code serves" do
      gate = new_gate
      client = hold(gate, path: "/probe/hold")
      old = wait_until_entered(gate).first
      boots = server.boots
      Harness::Bulletin.edit(server.directory, "config/initializers/server_api.rb") { |text| "#{text}VERSION_OF_THE_SPEC = 2\n" }
      touch_restart_file
      fresh = eventually("a new process") { server.get("/probe/pid").body.to_i.then { |pid| pid unless pid == old } }
      expect(Harness::ProcFS.alive?(old)).to be(true)
      expect(server.boots).to eq(boots + 1)
      open_gate(gate)
      expect(client.read_response.body).to eq("held by #{old}")
      expect(ready_workers(1)).to eq([fresh])
      expect(server.events).to include("starting #{fresh} true", "stopping #{old}")
      expect_no_zombies
    ensure
      client&.close
    end

    it "collects garbage out of band" do
      before = server.events.grep(/collecting/).size
      response = nil
      3.times { response = server.get("/probe/pid") }
      expect(response.header_lines.map(&:first).grep(/oob/)).to eq([])
      eventually("the collection") { server.events.grep(/collecting/).size > before }
      expect(server.events).to include("collecting #{server.get("/probe/pid").body}")
    end
  end

  describe "in its other commands" do
    before(:context) { @directory = application }

    attr_reader :directory

    it "has the API in a runner, where no event ever happens and no native code is loaded" do
      result = run_rails(directory, "runner", <<~RUBY)
        PhusionPassenger.on_event(:starting_worker_process) { raise "this is no worker" }
        begin
          PhusionPassenger.on_event(:starting_worker) { }
        rescue ArgumentError => e
          puts e.message
        end
        begin
          PhusionPassenger.require_passenger_lib "no/such/library"
        rescue LoadError => e
          puts e.message
        end
        puts "native: \#{$LOADED_FEATURES.grep(%r{phusion_passenger/native|libpassenger}).size}"
        puts "events: \#{File.exist?(Rails.root.join("tmp", "events"))}"
        puts "threads: \#{Thread.list.map(&:name).grep(/passenger/i)}"
      RUBY
      expect(result.status.exitstatus).to eq(0), result.to_s
      expect(result.out).to include("starting_worker_process", "no/such/library", "rack/out_of_band_gc", "native: 0", "events: false",
                                    "threads: []")
    end

    it "has the API in a rake task" do
      result = run_rails(directory, "use_api")
      expect(result.status.exitstatus).to eq(0), result.to_s
      expect(result.out).to include("rake: true")
    end

    it "has the API in a console" do
      result = run_rails(directory, "console", input: "puts \"console: \#{PhusionPassenger.on_event(:oob_work) { }.inspect}\"\nexit\n")
      expect(result.status.exitstatus).to eq(0), result.to_s
      expect(result.out).to include("console: nil")
    end

    it "may say how many requests a process handles, which only servers read" do
      result = run_rails(directory, "runner", "PhusionPassenger.advertised_concurrency_level = 4; puts PhusionPassenger.advertised_concurrency_level")
      expect(result.status.exitstatus).to eq(0), result.to_s
      expect(result.out).to include("4")
    end
  end
end
