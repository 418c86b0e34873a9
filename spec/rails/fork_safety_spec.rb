# frozen_string_literal: true

# With PROJECT_FULL=1: 100 000 questions and 20 restarts.
RSpec.describe "what an application has opened while it was loaded" do
  FULL = !ENV["PROJECT_FULL"].to_s.empty?
  QUESTIONS = FULL ? 100_000 : 5_000
  QUESTIONS_AFTER_RESTART = FULL ? 2_000 : 400
  RESTARTS = FULL ? 20 : 3
  WORKERS = 4
  THREADS = 2

  def self.serve_connected_app(files = {})
    before(:context) do
      skip "PostgreSQL or Redis is not installed" unless Harness::ConnectedApp.installed?

      @app = Harness::ConnectedApp.new(files)
      @server = Harness.server(@app.directory, bundled: false, environment: { "RAILS_ENV" => "production" }, min_instances: WORKERS,
                                               max_pool_size: WORKERS, thread_count: THREADS)
      @server.start
      Harness.eventually("four workers", within: 60) { @server.workers.size == WORKERS }
    rescue Harness::DeadlineExceeded => e
      @server.fail!(e.message)
    end

    after(:context) do
      next unless @app

      begin
        @server.stop
        expect_no_connections
      ensure
        @server.destroy if @server.running?
        @app.end_services
      end
    end

    attr_reader :app
  end

  def expect_no_connections
    Harness.eventually(-> { "the end of the backends #{@app.postgresql.backends}" }) { @app.postgresql.backends.empty? }
    Harness.eventually(-> { "the end of Redis' clients #{@app.redis.clients}" }) { @app.redis.clients.empty? }
  end

  # Until every worker has answered: the kernel chooses who does.
  def interrogate(questions)
    asked = Harness::Interrogation.new(server, questions: questions)
    expect(asked.failures).to eq([])
    expect(asked.answers.size).to eq(questions)
    expect(asked.wrong).to eq([])
    expect(server.workers).to include(*asked.workers)
    asked
  end

  def expect_own_connections(asked, sources, at_boot)
    by_worker = asked.connections(sources)
    expect(by_worker.keys.size).to eq(WORKERS)
    all = by_worker.values.flatten
    expect(all.uniq).to eq(all), "workers share connections: #{by_worker}"
    expect(all & at_boot).to eq([])
    by_worker.each_value { |own| expect(own.size).to be_between(sources.size, sources.size * THREADS) }
    all
  end

  def boot_connections(sources) = app.at_boot.values_at(*sources)

  describe "with a primary database, a replica role, a second one, a shard, Sequel, Redis, a pool and a cache" do
    serve_connected_app

    postgresql = Harness::ConnectedApp::ON_POSTGRESQL
    redis = Harness::ConnectedApp::ON_REDIS

    it "is closed before workers are forked" do
      expect(boot_connections(postgresql + redis)).to all(be_an(Integer))
      expect(app.postgresql.backends & boot_connections(postgresql)).to eq([])
      expect(app.redis.clients & boot_connections(redis)).to eq([])
    end

    it "is opened by each worker for itself, and gives it the answers to its own questions" do
      asked = interrogate(QUESTIONS)
      report(asked) if FULL
      backends = expect_own_connections(asked, postgresql, boot_connections(postgresql))
      expect(app.postgresql.backends).to include(*backends)
      clients = expect_own_connections(asked, redis, boot_connections(redis))
      expect(app.redis.clients).to include(*clients)
    end

    it "leaves no connection behind when the application is restarted" do
      interrogate(QUESTIONS_AFTER_RESTART)
      RESTARTS.times { expect_no_leak_after_restart(postgresql, redis) }
    end

    it "does not make workers draw the same numbers" do
      drawn = {}
      Harness.eventually(-> { "answer of all workers (#{drawn.size})" }) do
        told = JSON.parse(server.get("/random").body)
        drawn[told.fetch("pid")] = told.fetch("draws")
        drawn.size == WORKERS
      end
      drawn.values.transpose.each { |kind| expect(kind.uniq.size).to eq(WORKERS), kind.inspect }
    end

    def expect_no_leak_after_restart(postgresql, redis)
      before = server.workers
      old = [app.postgresql.backends, app.redis.clients]
      time = Time.now
      File.utime(time, time, FileUtils.touch(File.join(app.directory, "tmp/restart.txt")).first)
      Harness.eventually(-> { "new workers (#{server.workers} after #{before})" }, within: 60) do
        server.workers.size == WORKERS && (server.workers & before).empty?
      end
      asked = interrogate(QUESTIONS_AFTER_RESTART)
      expect(asked.workers & before).to eq([])
      Harness.eventually("the end of the old backends") { (app.postgresql.backends & old.first).empty? }
      Harness.eventually("the end of Redis' old clients") { (app.redis.clients & old.last).empty? }
      expect(app.postgresql.backends.size).to be <= WORKERS * THREADS * postgresql.size
      # Besides the two of the application, the cache has a pool or a client.
      expect(app.redis.clients.size).to be <= WORKERS * (1 + (2 * THREADS))
    end

    def report(asked)
      puts "", "#{asked.answers.size} questions, #{asked.wrong.size} wrong answers, #{asked.workers.size} workers, " \
               "#{asked.connections(Harness::ConnectedApp::ON_POSTGRESQL).values.flatten.uniq.size} backends, " \
               "#{asked.connections(Harness::ConnectedApp::ON_REDIS).values.flatten.uniq.size} clients of Redis"
    end
  end

  describe "by an application that reconnects in its own blocks" do
    serve_connected_app "boot.rb" => <<~RUBY
      2.times do
        PhusionPassenger.on_event(:starting_worker_process) do |forked|
          if forked
            ActiveRecord::Base.establish_connection
            ActiveRecord::Base.connection.execute("SELECT 1")
            SEQUEL.disconnect
            REDIS.close
            POOL.reload(&:close)
            REDIS.ping
          end
        end
      end
    RUBY

    it "is opened by each worker for itself" do
      asked = interrogate(2_000)
      expect_own_connections(asked, Harness::ConnectedApp::ON_POSTGRESQL, boot_connections(Harness::ConnectedApp::ON_POSTGRESQL))
      expect_own_connections(asked, Harness::ConnectedApp::ON_REDIS, boot_connections(Harness::ConnectedApp::ON_REDIS))
      expect(server.said).not_to include("fork safety")
    end
  end

  describe "by a thread that keeps it, or as a connection that no pool knows" do
    serve_connected_app "boot.rb" => <<~RUBY
      require "pg"
      holding = Queue.new
      Thread.new do
        Thread.current.name = "poller"
        ApplicationRecord.connection.execute("SELECT 1")
        REDIS.ping
        holding << true
        sleep
      end
      holding.pop
      RAW = PG.connect(host: PLACES.fetch("socket_directory"), user: "postgres", dbname: "postgres")
    RUBY

    it "is left to the thread, which is named in the log" do
      expect(server.said).to include("fork safety: thread poller of the application holds a database connection")
      interrogate(1_000)
    end

    it "is named in the log, with the remedy" do
      expect(server.said).to match(/fork safety: 2 open PG::Connection belong to no pool .*PhusionPassenger\.on_event\(:starting_worker_process\)/)
    end
  end

  describe "with a connection handler for each role" do
    before(:context) { skip "Rails 7.1 and later have one for all" unless Harness::ConnectedApp.legacy_connection_handling? }

    serve_connected_app "settings.rb" => "config.active_record.legacy_connection_handling = true\n"

    it "is closed in all of them, and opened by each worker for itself" do
      expect(app.postgresql.backends & boot_connections(Harness::ConnectedApp::ON_POSTGRESQL)).to eq([])
      asked = interrogate(2_000)
      expect_own_connections(asked, Harness::ConnectedApp::ON_POSTGRESQL, boot_connections(Harness::ConnectedApp::ON_POSTGRESQL))
    end
  end

  describe "in a worker that becomes a preloader" do
    it "stays usable for the worker, and is not used by the processes that come after it" do
      skip "PostgreSQL or Redis is not installed" unless Harness::ConnectedApp.installed?

      postgresql = Harness::PostgresqlServer.new.start
      redis = Harness::RedisServer.new.start
      program = [Harness::ROOT, "spec/support/apps/promoted.rb"].join("/")
      result = run_command(["ruby", program, postgresql.directory, redis.url, "#{Harness::ROOT}/phusion_passenger/fork_safety.rb"],
                           directory: postgresql.directory, environment: { "BUNDLE_GEMFILE" => nil })
      expect(result.status.exitstatus).to eq(0), result.to_s
      told = JSON.parse(result.out)
      expect(told).to include("after" => told.fetch("before"), "status" => 0)
      expect(told.fetch("worker").keys).to eq(%w[active_record sequel redis])
      expect(told.fetch("worker").values & told.fetch("before").values).to eq([])
      [redis, postgresql].each(&:stop)
    ensure
      [redis, postgresql].compact.each { |service| service.destroy if service.running? }
    end
  end
end
