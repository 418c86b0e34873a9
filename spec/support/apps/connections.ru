# frozen_string_literal: true

# A Rails application that has a connection to everything open when its workers are forked: a primary database with a replica
# role, a second database, a shard, Sequel, a Redis client, a pool of them, the cache. connections.json next to it says where they
# are; tmp/boot.json what was used while it was loaded. settings.rb is read as part of the configuration, boot.rb at the end.

require "action_controller/railtie"
require "active_record/railtie"
require "connection_pool"
require "json"
require "openssl"
require "redis"
require "securerandom"
require "sequel"

PLACES = JSON.parse(File.read(File.join(__dir__, "connections.json")))

class Connections < Rails::Application
  config.root = __dir__
  config.load_defaults 6.1
  config.eager_load = true
  config.secret_key_base = "x" * 64
  config.logger = Logger.new(File::NULL)
  config.hosts.clear
  config.cache_store = :redis_cache_store, { url: PLACES.fetch("redis"), reconnect_attempts: 0, error_handler: ->(exception:, **) { raise exception } }
  settings = File.join(__dir__, "settings.rb")
  instance_eval(File.read(settings), settings) if File.file?(settings)

  routes.append { %w[ask random].each { |action| get action => "connections##{action}" } }
end

Rails.application.initialize!

class ApplicationRecord < ActiveRecord::Base
  self.abstract_class = true
  connects_to database: { writing: :primary, reading: :primary_replica }
end

class SecondRecord < ActiveRecord::Base
  self.abstract_class = true
  connects_to database: { writing: :second, reading: :second }
end

class ShardRecord < ActiveRecord::Base
  self.abstract_class = true
  connects_to shards: { default: { writing: :second }, far: { writing: :primary, reading: :primary } }
end

SEQUEL = Sequel.connect(PLACES.fetch("sequel"))
REDIS = Redis.new(url: PLACES.fetch("redis"))
POOL = ConnectionPool.new(size: 5) { Redis.new(url: PLACES.fetch("redis")) }

# Each gives what it was asked for, through one of the connections, and which connection that was.
module Sources
  QUESTION = "SELECT pg_backend_pid() AS backend, CAST(%d AS integer) AS answer"

  module_function

  def primary(number) = ask(ApplicationRecord, number)

  def replica(number) = ActiveRecord::Base.connected_to(role: :reading) { ask(ApplicationRecord, number) }

  def second(number) = ask(SecondRecord, number)

  def shard(number) = ActiveRecord::Base.connected_to(role: :writing, shard: :far) { ask(ShardRecord, number) }

  def sequel(number)
    row = SEQUEL.fetch(format(QUESTION, number)).first
    [row[:backend], row[:answer]]
  end

  def redis(number) = ask_redis(REDIS, number)

  def pool(number) = POOL.with { |redis| ask_redis(redis, number) }

  def cache(number)
    key = "answer to #{number}"
    Rails.cache.write(key, number)
    [nil, Rails.cache.read(key)]
  end

  def ask(model, number)
    row = model.connection.select_one(format(QUESTION, number))
    [row["backend"], row["answer"]]
  end

  # Two commands that are answered one after the other on the same connection
  def ask_redis(redis, number)
    id, answer = redis.pipelined { |pipeline| [pipeline.call("CLIENT", "ID"), pipeline.echo(number.to_s)] }
    [id, Integer(answer)]
  end

  NAMES = %i[primary replica second shard sequel redis pool cache].freeze

  # name => connection
  def connections = NAMES.to_h { |name| [name, public_send(name, 0).first] }
end

def draws = [rand(2**62), Random.rand(2**62), [*1..100_000].shuffle.first(5), SecureRandom.hex(8), OpenSSL::Random.random_bytes(8).unpack1("Q")]

class ConnectionsController < ActionController::Base
  # As many questions as are wanted, to one source after the other: [[source, number, answer, connection], …]
  def ask
    first = Integer(params[:first])
    answers = Array.new(Integer(params[:count])) do |index|
      name = Sources::NAMES[index % Sources::NAMES.size]
      connection, answer = Sources.public_send(name, first + index)
      [name, first + index, answer, connection]
    end
    render json: { pid: Process.pid, answers: answers }
  end

  def random = render(json: { pid: Process.pid, draws: $draws })
end

srand(42)
OpenSSL::Random.seed("42")
PhusionPassenger.on_event(:starting_worker_process) { $draws = draws } # rubocop:disable Style/GlobalVars

boot = File.join(__dir__, "boot.rb")
load boot if File.file?(boot)
File.write(File.join(__dir__, "tmp/boot.json"), JSON.generate("pid" => Process.pid, "connections" => Sources.connections))

run Rails.application
