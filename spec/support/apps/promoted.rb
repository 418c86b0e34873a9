# frozen_string_literal: true

# No application: a process that has connections, has a child made a preloader, and goes on using them.
# ARGV: directory of PostgreSQL's socket, URL of Redis, the file fork_safety.rb

require "active_record"
require "json"
require "pg"
require "redis"
require "sequel"

directory, redis_url, fork_safety = ARGV
require fork_safety

ActiveRecord::Base.establish_connection(adapter: "postgresql", host: directory, username: "postgres", database: "postgres")
SEQUEL = Sequel.connect("postgres:///postgres?host=#{directory}&user=postgres")
REDIS = Redis.new(url: redis_url)
RAW = PG.connect(host: directory, user: "postgres", dbname: "postgres")

QUESTION = "SELECT pg_backend_pid() AS backend"

def managed
  { active_record: ActiveRecord::Base.connection.select_value(QUESTION), sequel: SEQUEL.fetch(QUESTION).single_value,
    redis: REDIS.call("CLIENT", "ID") }
end

def all = managed.merge(raw: RAW.exec(QUESTION).getvalue(0, 0).to_i)

before = all
reader, writer = IO.pipe
preloader = fork do
  PhusionPassenger::ForkSafety.before_fork
  worker = fork do
    PhusionPassenger::ForkSafety.after_fork
    writer.write(JSON.generate(managed))
  end
  Process.wait(worker)
  GC.start
end
writer.close
told = reader.read
_, status = Process.wait2(preloader)

puts JSON.generate(before: before, after: all, worker: JSON.parse(told), status: status.exitstatus)
