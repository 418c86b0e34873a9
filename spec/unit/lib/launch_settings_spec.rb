# frozen_string_literal: true

require "pathname"
require "tmpdir"
require_relative "../../../lib/phusion_passenger/rack_handler"
require_relative "../../../lib/phusion_passenger/rack_handler/launch_settings"

RSpec.describe PhusionPassenger::RackHandler::LaunchSettings do
  variables = %w[RAILS_ENV RACK_ENV NODE_ENV PASSENGER_APP_ENV RAILS_MAX_THREADS PASSENGER_PORT PASSENGER_SOCKET_FILE
                 PASSENGER_MAX_POOL_SIZE PWD]

  around do |example|
    before = variables.to_h { |name| [name, ENV.delete(name)] }
    Dir.mktmpdir { |directory| Dir.chdir(@root = File.realpath(directory)) { example.run } }
  ensure
    ENV.update(before)
  end

  # What Rails hands over for `rails server`, with what somebody has typed.
  def rails(typed = {}, **more)
    {
      user_supplied_options: typed.keys, server: nil, log_stdout: true, Port: 3000, Host: "localhost",
      DoNotReverseLookup: true, config: "config.ru", environment: "development", daemonize: false, pid: "/x.pid",
      caching: nil, restart_cmd: "bin/rails server", early_hints: nil
    }.merge(typed, more)
  end

  # What Rack hands over for `rackup`.
  def rackup(**more)
    { environment: "development", pid: nil, Port: 9292, Host: "localhost", AccessLog: [], config: "#{@root}/config.ru" }.merge(more)
  end

  def resolved(options) = described_class.new(options).settings

  it "offers early hints if `rails server --early-hints` or PASSENGER_EARLY_HINTS says so" do
    expect([resolved(rails)[:early_hints], resolved(rails({ early_hints: true }))[:early_hints]]).to eq([false, true])
    expect(described_class.new(rails({ early_hints: true })).warnings).to eq([])
    ENV["PASSENGER_EARLY_HINTS"] = "1"
    expect(resolved(rails)[:early_hints]).to be(true)
  ensure
    ENV.delete("PASSENGER_EARLY_HINTS")
  end

  describe "address and port" do
    it "are those that Rails and Rack hand over, localhost being 127.0.0.1" do
      expect([resolved(rails), resolved(rackup)].map { |it| [it[:address], it[:port]] }).to eq([["127.0.0.1", 3000], ["127.0.0.1", 9292]])
    end

    it "are what somebody has typed rather than what PASSENGER_* says, and that rather than Rails' default" do
      ENV["PASSENGER_PORT"] = "4000"
      expect([resolved(rails)[:port], resolved(rails({ Port: 5000 }))[:port]]).to eq([4000, 5000])
    end

    it "are the built-in ones when a program hands over none" do
      expect([resolved({})[:address], resolved({})[:port]]).to eq(["0.0.0.0", 3000])
    end

    it "give way to a socket that somebody has asked for" do
      it = resolved(rackup(socket_file: "x.sock"))
      expect(it[:socket_file]).to eq("#{@root}/x.sock")
      ENV["PASSENGER_SOCKET_FILE"] = "#{@root}/y.sock"
      expect(resolved(rails)[:socket_file]).to eq("#{@root}/y.sock")
    end

    it "are named in the message about them" do
      expect { resolved(rackup(Port: "http")) }.to raise_error(PhusionPassenger::OptionError, /\Athe port must be a whole number/)
    end
  end

  describe "processes and threads" do
    def pool(options) = resolved(options).then { |it| [it[:max_pool_size], it[:thread_count]] }

    it "are one process with five threads in development" do
      expect([pool(rails), pool(rackup)]).to eq([[1, 5], [1, 5]])
    end

    it "are as many threads as RAILS_MAX_THREADS says in development" do
      ENV["RAILS_MAX_THREADS"] = "3"
      expect(pool(rails)).to eq([1, 3])
    end

    it "are named after RAILS_MAX_THREADS when that is no number" do
      ENV["RAILS_MAX_THREADS"] = "many"
      expect { resolved(rails) }.to raise_error(PhusionPassenger::OptionError, /\ARAILS_MAX_THREADS must be a whole number/)
    end

    it "are Passenger's defaults in every other environment" do
      ENV["RAILS_MAX_THREADS"] = "3"
      expect([pool(rails(environment: "production")), pool(rackup(environment: "deployment"))]).to eq([[6, 1], [6, 1]])
    end

    it "can be set in the environment and, above that, with -O" do
      ENV["PASSENGER_MAX_POOL_SIZE"] = "2"
      expect([pool(rails), pool(rackup(max_pool_size: "4", threads: "7")), pool(rackup(Threads: "2"))]).to eq([[2, 5], [4, 7], [2, 2]])
    end
  end

  describe "the environment" do
    it "is Rails' own first, then the one that rackup -E names, then the usual variables" do
      expect(resolved(rackup(environment: "staging"))[:environment]).to eq("staging")
      ENV["RAILS_ENV"] = "production"
      expect(resolved(rackup(environment: "staging"))[:environment]).to eq("production")
      ENV.delete("RAILS_ENV")
      ENV["RACK_ENV"] = "test"
      expect(resolved({})[:environment]).to eq("test")
    end
  end

  describe "directories" do
    before { Dir.mkdir("app") && File.write("app/config.ru", "") }

    it "are the rackup file's for a config.ru" do
      it = resolved(rackup(config: "#{@root}/app/config.ru"))
      expect([it.app_root, it[:startup_file], it[:static_files_dir]])
        .to eq(["#{@root}/app", "#{@root}/app/config.ru", "#{@root}/app/public"])
    end

    it "are the working directory for another rackup file, or none" do
      File.write("app/other.ru", "")
      expect([resolved(rackup(config: "#{@root}/app/other.ru")), resolved({})].map(&:app_root)).to eq([@root, @root])
    end

    it "are the Rails application's, even when Rack has changed to /" do
      stub_const("Rails", double(root: Pathname.new("#{@root}/app")))
      it = Dir.chdir("/") { resolved(rails(daemonize: true)) }
      expect([it.app_root, it[:startup_file]]).to eq(["#{@root}/app", "#{@root}/app/config.ru"])
    end

    it "are where the gem was loaded, when Rack has changed to / and there is no Rails" do
      stub_const("PhusionPassenger::RackHandler::LOADED_IN", "#{@root}/app")
      expect(Dir.chdir("/") { resolved({ daemonize: true }) }.app_root).to eq("#{@root}/app")
    end

    it "keep the symlink through which the shell got there" do
      File.symlink("#{@root}/app", "#{@root}/current")
      ENV["PWD"] = "#{@root}/current"
      expect(Dir.chdir("#{@root}/app") { resolved(rackup(config: "#{@root}/app/config.ru")) }.app_root).to eq("#{@root}/current")
    end
  end

  describe "lists" do
    it "may be texts, as rackup -O has them, or arrays" do
      expect(resolved(rackup(sendfile_dirs: "files:/srv/more"))[:sendfile_dirs]).to eq(["#{@root}/files", "/srv/more"])
      expect(resolved(rackup(sendfile_dirs: %w[files]))[:sendfile_dirs]).to eq(["#{@root}/files"])
      expect(resolved(rackup(x_accel_mappings: "/a=/b /c=/d"))[:x_accel_mappings]).to eq(%w[/a=/b /c=/d])
    end
  end

  describe "the response cache" do
    it "is off in development, unless it is asked for" do
      expect([rails, rackup, rackup(environment: "production"), rackup(turbocaching: "yes")].map { |options| resolved(options)[:turbocaching] })
        .to eq([false, false, true, true])
    end
  end

  describe "the log" do
    it "stays on the terminal in the foreground" do
      expect(described_class.new(rails).log_file).to be_nil
    end

    it "is a file named after the port in the background" do
      expect(described_class.new(rails(daemonize: true)).log_file).to eq("#{@root}/passenger.3000.log")
      Dir.mkdir("log")
      expect(described_class.new(rails(daemonize: true)).log_file).to eq("#{@root}/log/passenger.3000.log")
    end

    it "stays where it is when Rack was told to keep the standard streams" do
      expect(described_class.new(rackup(daemonize: :noclose)).log_file).to be_nil
    end

    it "is a file of its own for complaints about the options, in the background" do
      expect([rails, rails(daemonize: true)].map { |options| described_class.emergency_log_file(options) })
        .to eq([nil, "#{@root}/passenger.log"])
    end

    it "is the file that was asked for" do
      expect(described_class.new(rackup(log_file: "/var/log/x.log")).log_file).to eq("/var/log/x.log")
    end

    it "has Rails' log as well when Rails was asked for that" do
      expect([rails, rails(log_stdout: false), rackup].map { |options| described_class.new(options).log_to_stdout? })
        .to eq([true, false, false])
    end
  end

  it "is silent for test suites that ask for it, and for rackup -q" do
    expect([rails, rackup(Silent: true), rackup(quiet: true)].map { |options| described_class.new(options).silent? })
      .to eq([false, true, true])
  end

  describe "options that nobody knows" do
    it "are mentioned, with the one that was probably meant" do
      expect(described_class.new(rackup(max_pol_size: "3")).warnings)
        .to eq(["option max_pol_size is not known and has no effect; did you mean max_pool_size?"])
    end

    it "do not include those of Rails and Rack" do
      expect([rails, rackup].map { |options| described_class.new(options).warnings }).to eq([[], []])
    end
  end
end
