# frozen_string_literal: true

require "json"

# Action Cable with several processes and the adapters that Rails has for that, directly and behind other servers.
RSpec.describe "Action Cable" do
  # Two processes, and a service that passes messages between them; the block gives the application's variables and files.
  def self.serve_with(service_class, name)
    before(:context) do
      skip "#{name} is not installed" unless service_class.installed?

      @service = service_class.new.start
      variables, files = yield @service
      directory = Harness::Bulletin.on_database(variables)
      files.each { |path, text| Harness::Apps.write(directory, path, text) }
      @server = Harness::BulletinServer.new(directory, environment: variables, min_instances: 2)
      @server.start
      Harness.eventually("both processes", within: Harness::Server::BOOT_SECONDS) do
        @server.get("/probe/pid", within: Harness::Server::BOOT_SECONDS).status == 200 && @server.workers.size == 2
      end
    end

    after(:context) do
      @server&.stop
      @service&.stop
    ensure
      [@server, @service].compact.each { |one| one.destroy if one.running? }
    end

    attr_reader :server

    let(:application) { server }

    include_examples "comments that reach every process"
  end

  context "with Redis" do
    serve_with(Harness::RedisServer, "redis-server") { |redis| [{ "REDIS_URL" => redis.url }, {}] }

    { Harness::NginxProxy => "nginx", Harness::HaproxyProxy => "HAProxy" }.each do |proxy, name|
      context "behind #{name}, which ends TLS" do
        before(:context) do
          skip "#{name} is not installed" unless proxy.installed?

          @proxy = proxy.new(@server).start
        end

        after(:context) do
          @proxy&.stop
        ensure
          @proxy.destroy if @proxy&.running?
        end

        include_examples "comments that reach every process"

        let(:server) { @proxy }
        let(:application) { @server }
        let(:origin) { @proxy.origin }

        it "are refused to the same host without TLS" do
          expect { cable(origin: @proxy.origin.sub("https", "http")) }.to raise_error(Harness::WebSocket::Refused, /404/)
        end

        it "end with the closing handshake" do
          socket = subscribed(1)
          socket.finish
          Harness.eventually("the end of the connections") { holding.sum.zero? }
        end
      end
    end
  end

  context "with PostgreSQL" do
    serve_with(Harness::PostgresqlServer, "PostgreSQL") do |postgresql|
      postgresql.create_database("bulletin")
      [{ "DATABASE_URL" => postgresql.url("bulletin") }, { "config/cable.yml" => "production:\n  adapter: postgresql\n" }]
    end
  end
end
