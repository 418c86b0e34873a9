# frozen_string_literal: true

RSpec.describe "the Rack handler" do
  # What its users see of an application that is started in so many ways.
  CONFIG = <<~RUBY
    File.write(ENV["BOOT_COUNTER"], "x\\n", mode: "a")
    run ->(env) { [200, { "content-type" => "text/plain" }, ["%s in \#{ENV["RACK_ENV"].inspect}, \#{env["SERVER_SOFTWARE"]}"]] }
  RUBY

  def plain_app(text = "hello")
    Harness::Apps.directory("rackup", "config.ru" => format(CONFIG, text))
  end

  # In the project's own bundle, with the gem loaded as Bundler.require does it for an application.
  def rackup(*arguments, directory: plain_app, **options)
    environment = { "BUNDLE_GEMFILE" => File.join(Harness::ROOT, "Gemfile"), **options.delete(:environment).to_h }
    Harness::RailsServer.new(directory, "-r", "phusion_passenger/rack_handler", *arguments,
                             command: Harness::RailsServer::RACKUP, environment: environment, **options)
                        .tap { |server| started << server }
  end

  it "serves for rackup without naming a server" do
    server = rackup.start
    expect(server.get("/").body).to match(/\Ahello in "development", .*passenger/i)
    expect(server.boots).to eq(1)
    server.stop
  end

  it "serves for rackup -s passenger without being required" do
    directory = plain_app
    server = Harness::RailsServer.new(directory, "-s", "passenger", command: Harness::RailsServer::RACKUP,
                                                 environment: { "BUNDLE_GEMFILE" => File.join(Harness::ROOT, "Gemfile") })
    started << server
    server.start
    expect(server.get("/").body).to match(/passenger/i)
    server.stop
  end

  it "takes the environment from rackup -E" do
    server = rackup("-s", "passenger", "-E", "production").start
    expect(server.get("/").body).to start_with('hello in "production"')
    server.stop
  end

  it "takes settings from rackup -O" do
    server = rackup("-s", "passenger", "-O", "max_pool_size=3", "-O", "min_instances=3").start
    eventually("three workers") { server.workers.size == 3 }
    expect(server.boots).to eq(1)
    server.stop
  end

  it "takes another rackup file" do
    directory = plain_app
    Harness::Apps.write(directory, "other.ru", format(CONFIG, "other"))
    server = rackup("-s", "passenger", "other.ru", directory: directory).start
    expect(server.get("/").body).to start_with("other in")
    server.stop
  end

  it "writes and removes a pid file for rackup -P" do
    directory = plain_app
    server = rackup("-s", "passenger", "-P", "rack.pid", directory: directory).start
    expect(File.read(File.join(directory, "rack.pid")).to_i).to eq(server.pid)
    server.stop
    expect(File.exist?(File.join(directory, "rack.pid"))).to be(false)
  end

  it "serves the example application for rackup, loaded once" do
    server = Harness::RailsServer.new(Harness::Bulletin.copy, command: Harness::RailsServer::RACKUP)
    started << server
    server.start
    expect(server.get("/").status).to eq(200)
    expect(server.boots).to eq(1)
    server.stop
  end

  it "serves any application object, from any program" do
    port = Harness::Server.free_port
    directory = Harness::Apps.directory("object", "serve.rb" => <<~RUBY)
      begin
        require "rackup"
      rescue LoadError
        require "rack"
      end
      require "phusion_passenger/rack_handler"
      registry = defined?(Rackup::Handler) ? Rackup::Handler : Rack::Handler
      greeting = "made at run time by \#{Process.pid}"
      app = ->(_env) { [200, { "content-type" => "text/plain" }, [greeting]] }
      registry.get("passenger").run(app, Host: "127.0.0.1", Port: #{port}) { |server| puts "the block got \#{server.respond_to?(:stop)}" }
      puts "run has returned"
    RUBY
    server = Harness::Server.new(%w[bundle exec ruby serve.rb], address: ["127.0.0.1", port], directory: directory, name: "object")
    started << server
    server.start
    expect(server.get("/").body).to eq("made at run time by #{server.pid}")
    server.stop
    expect(server.output).to include("the block got true", "run has returned")
  end

  describe "in a process that serves nothing" do
    before(:context) { @directory = Harness::Bulletin.copy }

    def rails(*arguments)
      run_command(["bundle", "exec", *arguments], directory: @directory, environment: Harness::Bulletin.environment(@directory))
    end

    it "loads no native code and starts no process and no thread" do
      result = rails("rails", "runner", <<~RUBY)
        ours = /libpassenger|phusion_passenger/
        maps = File.readlines("/proc/self/maps").grep(ours)
        threads = Thread.list.count { |thread| thread.backtrace.to_a.grep(ours).any? }
        children = File.read("/proc/self/task/\#{Process.pid}/children").split
        puts [maps.size, threads, children.size, PhusionPassenger::VERSION_STRING].join(" ")
      RUBY
      expect(result.status.exitstatus).to eq(0), result.to_s
      expect(result.out.lines(chomp: true)).to include("0 0 0 7.0.0")
    end

    it "has an on_event that does nothing" do
      result = rails("rails", "runner", 'puts "before"; PhusionPassenger.on_event(:starting_worker_process) { |forked| puts "called" }; puts "after"')
      expect(result.status.exitstatus).to eq(0), result.to_s
      expect(result.out.lines(chomp: true)).to include("before", "after")
      expect(result.out).not_to include("called")
    end

    it "lets rake work" do
      result = rails("rake", "-T")
      expect(result.status.exitstatus).to eq(0), result.to_s
      expect(result.out).to include("rake db:migrate")
    end
  end
end
