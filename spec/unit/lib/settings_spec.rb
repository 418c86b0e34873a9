# frozen_string_literal: true

require "tmpdir"
require_relative "../../../lib/phusion_passenger/settings"

RSpec.describe PhusionPassenger::Settings do
  def layer(values, base: "/base") = described_class::Layer.new(values, {}, base)

  def settings(*layers, app_root: "/srv/app", env: {})
    described_class.new(app_root: app_root, layers: layers, env: env)
  end

  def environment_layer(env) = described_class.environment_layer(PhusionPassenger::Options::TABLE, env: env, base: "/base")

  describe "precedence" do
    it "prefers the command line to the environment and the environment to the default" do
      from_environment = environment_layer({ "PASSENGER_PORT" => "4000", "PASSENGER_MAX_POOL_SIZE" => "3" })
      resolved = settings(from_environment, layer({ port: "5000" }))

      expect([resolved[:port], resolved[:max_pool_size], resolved[:min_instances]]).to eq([5000, 3, 1])
    end

    it "ignores environment variables that are empty" do
      expect(settings(environment_layer({ "PASSENGER_PORT" => "" }))[:port]).to eq(3000)
    end

    it "knows options with two names under both in the environment" do
      expect(settings(environment_layer({ "PASSENGER_RACKUP" => "other.ru" }))[:startup_file]).to eq("/base/other.ru")
      expect(settings(environment_layer({ "PASSENGER_STARTUP_FILE" => "x.ru" }))[:startup_file]).to eq("/base/x.ru")
    end

    it "names the environment variable in the message about its value" do
      expect { settings(environment_layer({ "PASSENGER_PORT" => "x" })) }
        .to raise_error(PhusionPassenger::OptionError, /\APASSENGER_PORT must be a whole number/)
    end

    it "takes the environment from the first variable that names it, unless an option does" do
      env = { "RAILS_ENV" => "production" }
      expect(settings(env: env)[:environment]).to eq("production")
      expect(settings(layer({ environment: "staging" }), env: env)[:environment]).to eq("staging")
    end
  end

  describe "what people should know" do
    it "is nothing, ordinarily" do
      expect(settings.notes).to eq([])
    end

    it "is that paths with unlimited concurrency need not be named, from wherever they come" do
      from_environment = environment_layer({ "PASSENGER_UNLIMITED_CONCURRENCY_PATHS" => "/cable /live" })
      expect(settings(from_environment).notes).to contain_exactly(a_string_starting_with("unlimited_concurrency_paths (/cable, /live) is not needed"))
      resolved = settings(layer({ unlimited_concurrency_paths: ["/cable"] }))
      expect(resolved.notes).to contain_exactly(a_string_including("(/cable) is not needed"))
      expect(resolved.to_engine).not_to include(:unlimited_concurrency_paths)
    end
  end

  describe "defaults that depend on the application" do
    it "places the rackup file, the public directory and the restart directory in the application's directory" do
      resolved = settings
      expect([resolved[:startup_file], resolved[:static_files_dir], resolved[:restart_dir]])
        .to eq(%w[/srv/app/config.ru /srv/app/public /srv/app/tmp])
    end

    it "takes a relative restart directory as the application's, other relative paths as those of the place they are in" do
      resolved = settings(layer({ restart_dir: "state", static_files_dir: "www" }))
      expect([resolved[:restart_dir], resolved[:static_files_dir]]).to eq(%w[/srv/app/state /base/www])
    end

    it "shows friendly error pages in development only, unless told otherwise" do
      pages = [{}, { environment: "production" }, { environment: "production", friendly_error_pages: true }]
      expect(pages.map { |values| settings(layer(values))[:friendly_error_pages] }).to eq([true, false, true])
    end

    it "keeps responses in memory everywhere but in development, unless told otherwise" do
      caching = [{}, { environment: "production" }, { turbocaching: true }, { environment: "production", turbocaching: "no" }]
      expect(caching.map { |values| settings(layer(values))[:turbocaching] }).to eq([false, true, true, false])
      expect(settings(environment_layer({ "PASSENGER_TURBOCACHING" => "true" }))[:turbocaching]).to be(true)
    end

    it "makes its instance directory in TMPDIR or /tmp, and lets the application name files there" do
      expect([settings, settings(env: { "TMPDIR" => "/t" }), settings(env: { "TMPDIR" => "" })].map { |it| it[:instance_registry_dir] })
        .to eq(%w[/tmp /t /tmp])
      expect(settings(env: { "TMPDIR" => "/t" })[:sendfile_dirs]).to eq(%w[/srv/app /t])
    end

    it "reaches the shared directories of a deployment" do
      Dir.mktmpdir do |directory|
        deployment = File.realpath(directory)
        FileUtils.mkdir_p("#{deployment}/releases/1")
        File.symlink("releases/1", "#{deployment}/current")
        reached = ["#{deployment}/current", "#{deployment}/shared", "#{deployment}/releases"]
        resolved = settings(app_root: "#{deployment}/current")
        expect([resolved[:static_symlink_dirs], resolved[:sendfile_dirs]]).to eq([reached, [*reached, "/tmp"]])
      end
    end

    it "keeps the pid file in tmp/pids if that exists and in the application's directory if not" do
      Dir.mktmpdir do |root|
        expect(settings(app_root: root)[:pid_file]).to eq("#{root}/passenger.3000.pid")
        FileUtils.mkdir_p("#{root}/tmp/pids")
        expect(settings(app_root: root)[:pid_file]).to eq("#{root}/tmp/pids/passenger.3000.pid")
      end
    end

    it "names pid and log file of a server on a socket without a port" do
      resolved = settings(layer({ socket_file: "/run/app.sock" }))
      expect(resolved[:pid_file]).to eq("/srv/app/passenger.pid")
      expect(PhusionPassenger::Options.default_log_file(resolved)).to eq("/srv/app/passenger.log")
    end
  end

  it "replaces a whole list by that of a stronger source, taking relative directories as those of their source" do
    resolved = settings(environment_layer({ "PASSENGER_SENDFILE_DIRS" => "/a:b" }), layer({ sendfile_dirs: %w[c] }, base: "/work"))
    expect(resolved[:sendfile_dirs]).to eq(%w[/work/c])
    expect(settings(environment_layer({ "PASSENGER_SENDFILE_DIRS" => "/a:b" }))[:sendfile_dirs]).to eq(%w[/a /base/b])
  end

  describe "the place to listen" do
    it "is a socket or an address, not both from one source" do
      expect { settings(layer({ socket_file: "/a", port: "80" })) }
        .to raise_error(PhusionPassenger::OptionError, /--socket and --address\/--port can't be used together/)
    end

    it "is what the stronger source says" do
      expect(settings(layer({ port: "80" }), layer({ socket_file: "/a" }))[:socket_file]).to eq("/a")
      expect(settings(layer({ socket_file: "/a" }), layer({ port: "80" }))[:socket_file]).to be_nil
    end

    {
      "localhost" => "127.0.0.1", "LOCALHOST" => "127.0.0.1", "0.0.0.0" => "0.0.0.0", "::1" => "::1", "[::1]" => "::1"
    }.each do |given, expected|
      it("makes #{given} the address #{expected}") { expect(settings(layer({ address: given }))[:address]).to eq(expected) }
    end

    it "says so when a host name has no address" do
      expect { settings(layer({ address: "no-such-host.invalid" })) }
        .to raise_error(PhusionPassenger::OptionError, /\Acan't listen on "no-such-host.invalid": \S/)
    end
  end

  it "refuses more processes to keep than processes to have" do
    expect { settings(layer({ min_instances: 3, max_pool_size: 2 })) }
      .to raise_error(PhusionPassenger::OptionError, "min-instances (3) can't be larger than max-pool-size (2)")
  end

  it "lets the machine decide how many processes to have" do
    expect(settings(layer({ max_pool_size: "auto", min_instances: 3 })).to_engine).to include(max_pool_size: "auto", min_instances: 3)
  end

  describe "the concurrency model" do
    it "follows the number of threads" do
      expect(settings[:concurrency_model]).to eq("process")
      expect(settings(layer({ thread_count: 2 }))[:concurrency_model]).to eq("thread")
    end

    it "has one thread when it is process, whatever a weaker source says" do
      expect(settings(layer({ thread_count: 5 }), layer({ concurrency_model: "process" }))[:thread_count]).to eq(1)
    end

    it "can't be process with several threads" do
      expect { settings(layer({ concurrency_model: "process", thread_count: 5 })) }
        .to raise_error(PhusionPassenger::OptionError, /concurrency-model process has one thread; .* thread-count 5/)
    end
  end

  {
    "limits that contradict each other" => [{ memory_limit: 300, hard_memory_limit: 200 }, /memory-limit \(300\) .* hard-memory-limit \(200\)/],
    "reforking what is not forked" => [{ refork_after: 100, spawn_method: "direct" }, /refork-after .* spawn-method direct/]
  }.each do |sentence, (values, message)|
    it "refuses #{sentence}" do
      expect { settings(layer(values)) }.to raise_error(PhusionPassenger::OptionError, message)
    end
  end

  it "treats standard output as no log file" do
    expect(settings(layer({ log_file: "/dev/stdout" }))[:log_file]).to be_nil
  end

  describe "what the engine is told" do
    it "is every option that concerns it, and the application's directory" do
      expect(settings.to_engine.keys).to contain_exactly(
        :address, :port, :environment, :startup_file, :max_pool_size, :min_instances, :thread_count, :start_timeout,
        :shutdown_timeout, :max_request_queue_size, :max_preloader_idle_time, :friendly_error_pages, :static_files_dir,
        :static_symlink_dirs, :static_cache_size, :asset_patterns, :page_caching, :compression, :gzip_level, :brotli_level,
        :compression_min_size, :turbocaching, :turbocache_size, :sendfile_dirs, :instance_registry_dir, :restart_dir, :app_root,
        :spawn_method, :pool_idle_time, :force_max_concurrent_requests_per_process, :max_requests, :memory_limit, :hard_memory_limit,
        :memory_measure, :max_request_time, :max_request_queue_time, :rolling_restarts, :rolling_restart_size,
        :max_connections, :max_connections_per_ip,
        :resist_deployment_errors, :early_hints, :refork_after, :abort_websockets_on_process_shutdown, :sticky_sessions, :sticky_sessions_cookie_name, :sticky_sessions_cookie_attributes
      )
    end

    it "has lists as lists" do
      told = settings(layer({ x_accel_mappings: "/files=/f /more=/m" }), env: { "TMPDIR" => "/var/tmp" }).to_engine
      expect(told).to include(x_accel_mappings: %w[/files=/f /more=/m], static_symlink_dirs: %w[/srv/app],
                              sendfile_dirs: %w[/srv/app /var/tmp], asset_patterns: all(be_a(String)))
    end

    it "includes every key that the engine requires" do
      source = File.read(File.expand_path("../../../go/internal/config/options.go", __dir__))
      required = source.scan(/p\.(?:number|seconds|megabytes)\("(\w+)"/).flatten
      expect(required).not_to be_empty
      expect(settings.to_engine.keys.map(&:to_s)).to include(*required)
    end
  end
end
