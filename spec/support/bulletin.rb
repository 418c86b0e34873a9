# frozen_string_literal: true

module Harness
  # Copies of the example application, prepared once for the whole suite: its database with sample posts, its assets.
  # Nothing is written into the application's own directory.
  module Bulletin
    SOURCE = File.join(ROOT, "examples", "bulletin")
    # What runs leave there; the copy makes its own.
    LEFT_BY_RUNS = %w[tmp log storage public/assets public/highlights.html public/highlights.html.gz public/highlights.json
                      public/highlights.json.gz].freeze

    # Counts how often the application has been loaded, and by whom.
    BOOT_COUNTER = <<~RUBY
      counter = ENV["BOOT_COUNTER"]
      File.write(counter, "\#{Process.pid}\\n", mode: "a") if counter
    RUBY

    EVENTS = <<~RUBY
      if defined?(PhusionPassenger)
        PhusionPassenger.on_event(:starting_worker_process) do |forked|
          File.write(Rails.root.join("tmp", "events"), "starting \#{Process.pid} \#{forked}\\n", mode: "a")
        end
        PhusionPassenger.on_event(:stopping_worker_process) do
          File.write(Rails.root.join("tmp", "events"), "stopping \#{Process.pid}\\n", mode: "a")
        end
      end
    RUBY

    PROBE = <<~RUBY
      class ProbeController < ApplicationController
        def version = render(plain: "first version")
        def pid = render(plain: Process.pid.to_s)
        def environment = render(plain: [Rails.env, ENV["RAILS_ENV"], ENV["RACK_ENV"]].inspect)
        def failure = raise("the probe has failed")

        def hold
          File.write(Rails.root.join("tmp", "entered"), "")
          sleep 0.01 until Rails.root.join("tmp", "gate").exist?
          render plain: "held"
        end

        def irb
          answer = nil
          binding.irb
          render plain: "answer \#{answer}"
        end
      end
    RUBY

    module_function

    # A directory of its own for an example group.
    def copy(files = {})
      @prepared ||= prepare
      directory = Suite.new_directory("bulletin")
      # With the times: a precompressed asset that happens to be copied before its original must not look older than it.
      FileUtils.cp_r(File.join(@prepared, "."), directory, preserve: true)
      files.each { |path, text| Apps.write(directory, path, text) }
      directory
    end

    # The same with posts and uploads for production. routes are lines for config/routes.rb, settings for
    # config/environments/production.rb.
    def production(files = {}, routes: "", settings: "")
      directory = copy(files)
      FileUtils.cp_r(File.join(directory, "storage/development"), File.join(directory, "storage/production"))
      Dir.glob("db/development.sqlite3*", base: directory).each do |name|
        FileUtils.cp(File.join(directory, name), File.join(directory, name.sub("development", "production")))
      end
      edit(directory, "config/routes.rb") { |text| text.sub("routes.draw do\n") { |line| "#{line}#{routes}\n" } }
      edit(directory, "config/environments/production.rb") { |text| text.sub("configure do\n") { |line| "#{line}#{settings}\n" } }
      directory
    end

    # The same on another database, and whatever else the variables name: the application's bundle depends on them.
    def on_database(variables)
      directory = production
      FileUtils.rm_f([File.join(directory, "Gemfile.lock"), *Dir.glob(File.join(directory, "db/*.sqlite3*"))])
      run(directory, "bundle", "exec", "rails", "db:prepare", "db:seed", variables: { "RAILS_ENV" => "production", **variables })
      directory
    end

    # Whether the application's bundle has a gem that it can do without.
    def gem?(name)
      @prepared ||= prepare
      File.read(File.join(@prepared, "Gemfile.lock")).match?(/^    #{Regexp.escape(name)} \(/)
    end

    def prepare
      directory = Suite.new_directory("bulletin-prepared")
      FileUtils.cp_r(File.join(SOURCE, "."), directory)
      FileUtils.rm_rf([*LEFT_BY_RUNS, *Dir.glob("db/*.sqlite3*", base: SOURCE)].map { |path| File.join(directory, path) })
      FileUtils.mkdir_p(%w[tmp/pids log storage].map { |path| File.join(directory, path) })
      File.write(File.join(directory, "tmp", "caching-dev.txt"), "")
      instrument(directory)
      %w[db:prepare db:seed assets:precompile].then { |tasks| run(directory, "bundle", "exec", "rails", *tasks) }
      directory
    end

    def instrument(directory)
      edit(directory, "Gemfile") { |text| text.sub('path: "../.."', "path: #{ROOT.inspect}") }
      edit(directory, "config/routes.rb") { |text| text.sub("routes.draw do\n", "routes.draw do\n  get \"probe/:action\", controller: \"probe\"\n") }
      Apps.write(directory, "config/initializers/000_boot_counter.rb", BOOT_COUNTER)
      Apps.write(directory, "config/initializers/passenger_events.rb", EVENTS)
      Apps.write(directory, "app/controllers/probe_controller.rb", PROBE)
      FileUtils.rm_f(File.join(directory, "Gemfile.lock"))
    end

    def edit(directory, path)
      file = File.join(directory, path)
      before = File.read(file)
      after = yield before
      raise "#{path} of the example application is not as the specs know it" if after == before

      File.write(file, after)
    end

    def environment(directory)
      { "BUNDLE_GEMFILE" => File.join(directory, "Gemfile"), "PWD" => directory }
    end

    def run(directory, *argv, variables: {})
      log = File.join(Suite.directory, "prepare.log")
      succeeded = system(Suite.environment(environment(directory).merge(variables)), *argv, chdir: directory, out: log, err: [:child, :out],
                                                                           in: File::NULL, unsetenv_others: true)
      raise "#{argv.join(" ")} failed in #{directory}:\n#{File.read(log)}" unless succeeded
    end
  end

  # What the log of a Rails application tells. A line is in it before the response that it is about.
  module RailsLog
    def rails_log(environment = rails_environment)
      path = File.join(directory, "log", "#{environment}.log")
      File.exist?(path) ? File.read(path, encoding: "UTF-8").scrub : ""
    end

    # How often Rails has been asked for this path, with any query.
    def asked_for(path)
      rails_log.scan(/Started [A-Z]+ "#{Regexp.escape(path)}[?"]/).size
    end

    def output_paths
      super + Dir.glob(File.join(directory, "log", "*.log"))
    end
  end

  # `passenger start` in a copy of the example application, in production.
  class BulletinServer < PassengerServer
    include RailsLog

    def initialize(directory, environment: {}, **options)
      super(directory, environment: { **Bulletin.environment(directory), "RAILS_ENV" => rails_environment, **environment },
                       max_pool_size: 2, **options)
    end

    def rails_environment
      "production"
    end
  end

  # `rails server`, or `rackup`, in a copy of the example application.
  class RailsServer < Server
    include RailsLog

    RAILS = %w[bundle exec rails server].freeze
    RACKUP = %w[bundle exec rackup].freeze

    attr_reader :rails_environment

    def initialize(directory, *arguments, command: RAILS, address: nil, environment: {}, name: command[2..].join("-"))
      address ||= ["127.0.0.1", Server.free_port]
      place = command == RAILS ? ["-b", address[0], "-p", address[1].to_s] : ["-o", address[0], "-p", address[1].to_s]
      place = [] if arguments.delete(:no_place)
      @rails_environment = arguments.include?("production") ? "production" : "development"
      @boot_counter = File.join(directory, "tmp", "boots")
      super([*command, *place, *arguments], address: address, directory: directory, name: name,
                                            environment: { "BOOT_COUNTER" => @boot_counter, **Bulletin.environment(directory),
                                                           **environment })
    end

    # How often the application has been loaded since the start.
    def boots
      File.exist?(@boot_counter) ? File.readlines(@boot_counter).size : 0
    end

    def workers
      processes.select { |member| ProcFS.title(member)&.start_with?("Passenger RubyApp: ") }
    end

    def events
      path = File.join(directory, "tmp", "events")
      File.exist?(path) ? File.readlines(path, chomp: true) : []
    end
  end

  # For example groups: `passenger start` for all of them, with the application loaded.
  module ServingBulletin
    def serve_bulletin(files = {}, routes: "", settings: "", **options)
      before(:context) do
        @server = Harness::BulletinServer.new(Harness::Bulletin.production(files, routes: routes, settings: settings), **options)
        @server.start
        # What the application says about itself counts once it serves.
        response = @server.get("/probe/pid", within: Harness::Server::BOOT_SECONDS)
        @server.fail!("the application answers #{response.inspect}") unless response.status == 200
      end

      after(:context) do
        @server.stop
      ensure
        @server.destroy if @server.running?
      end
    end
  end
end

RSpec.configure { |config| config.extend Harness::ServingBulletin }

# A response that has gone through Rails' middleware.
RSpec::Matchers.define :come_from_rails do
  headers = %w[x-request-id x-runtime]
  match { |response| headers.all? { |name| response[name] } }
  match_when_negated { |response| headers.none? { |name| response[name] } }
  failure_message { |response| "expected an answer of Rails, got #{response.inspect}" }
  failure_message_when_negated { |response| "expected an answer of the server itself, got #{response.inspect}" }
end
