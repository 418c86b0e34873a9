# frozen_string_literal: true

module Harness
  # The application that has everything open (apps/connections.ru), with a PostgreSQL and a Redis of its own, and what it
  # says under load.
  class ConnectedApp
    PRIMARY = "bulletin"
    SECOND = "archive"
    SOURCES = %w[primary replica second shard sequel redis pool cache].freeze
    # Those whose connection is a backend of PostgreSQL
    ON_POSTGRESQL = %w[primary replica second shard sequel].freeze
    ON_REDIS = %w[redis pool].freeze

    attr_reader :postgresql, :redis, :directory

    def self.installed? = PostgresqlServer.installed? && RedisServer.installed?

    # Whether the Rails that is installed can have one connection handler for each role (6.1 and 7.0).
    def self.legacy_connection_handling?
      program = 'print Gem::Specification.stubs_for("activerecord").first.version'
      version = IO.popen([Suite.environment.except("BUNDLE_GEMFILE"), "ruby", "-e", program, { unsetenv_others: true }], &:read)
      Gem::Version.new(version) < Gem::Version.new("7.1")
    end

    # files: settings.rb, boot.rb
    def initialize(files = {})
      @postgresql = PostgresqlServer.new.start
      [PRIMARY, SECOND].each { |name| @postgresql.create_database(name) }
      @redis = RedisServer.new.start
      @directory = Apps.directory("connections", { "connections.json" => JSON.generate(places), "config/database.yml" => databases, **files })
    end

    def end_services
      [@postgresql, @redis].each(&:stop)
    ensure
      [@postgresql, @redis].each { |service| service.destroy if service.running? }
    end

    # What was used while the application was loaded: source => connection
    def at_boot
      JSON.parse(File.read(File.join(directory, "tmp/boot.json"))).fetch("connections")
    end

    private

    def places
      { redis: @redis.url, socket_directory: @postgresql.directory,
        sequel: "postgres:///#{SECOND}?host=#{@postgresql.directory}&port=#{PostgresqlServer::PORT}" \
                "&user=#{PostgresqlServer::SUPERUSER}" }
    end

    # JSON is YAML.
    def databases
      JSON.pretty_generate(production: { primary: @postgresql.settings(PRIMARY),
                                         primary_replica: @postgresql.settings(PRIMARY).merge("replica" => true),
                                         second: @postgresql.settings(SECOND) })
    end
  end

  # Questions from several clients at a time, each with a number of its own, and all answers.
  class Interrogation
    Answer = Struct.new(:worker, :source, :asked, :answered, :connection)

    PER_REQUEST = 20

    attr_reader :answers, :failures

    def initialize(server, questions:, clients: 8)
      @server = server
      @answers = []
      @failures = []
      @lock = Mutex.new
      @numbers = Queue.new
      (0...questions).step(PER_REQUEST) { |number| @numbers << number }
      @numbers.close
      Array.new(clients) { Thread.new { work } }.each(&:join)
    end

    def workers = answers.map(&:worker).uniq

    def wrong = answers.reject { |answer| answer.asked == answer.answered }

    # worker => its connections, of some of the sources
    def connections(sources)
      answers.select { |answer| sources.include?(answer.source) }.group_by(&:worker)
             .transform_values { |own| own.map(&:connection).uniq }
    end

    private

    def work
      @server.connect(within: 60) do |client|
        while (first = @numbers.pop)
          note(client.get("/ask?first=#{first}&count=#{PER_REQUEST}"))
        end
      end
    end

    def note(response)
      @lock.synchronize do
        next @failures << response unless response.status == 200

        told = JSON.parse(response.body)
        told.fetch("answers").each { |source, *rest| @answers << Answer.new(told.fetch("pid"), source, *rest) }
      end
    end
  end
end
