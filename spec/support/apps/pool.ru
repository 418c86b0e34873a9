# frozen_string_literal: true

# An application that tells about the process it runs in: where that comes from, what it remembers, what has happened to it.
# What else is to happen while it is loaded stands in boot.rb beside it.

require "json"
require "rack"
require "rack/lint"
require "securerandom"

class PoolApp
  DIRECTORY = __dir__
  # Made when the application is loaded: processes with the same one are forks of each other.
  LOADING = SecureRandom.hex(8)
  LOADED_BY = Process.pid
  VERSION = File.exist?(File.join(DIRECTORY, "version")) ? File.read(File.join(DIRECTORY, "version")) : "none"
  # What this process, and those that it descends from, have put there while they served: pid => requests
  MEMORY = {}

  def self.note(text)
    File.write(File.join(DIRECTORY, "events"), "#{text}\n", mode: "a")
  end

  # Holds a request until the spec has opened the gate (see Harness::Gates).
  def self.enter(gate)
    File.write(File.join(DIRECTORY, "entered-#{gate}"), "#{Process.pid}\n", mode: "a")
    sleep 0.01 until File.exist?(File.join(DIRECTORY, "gate-#{gate}"))
  end

  def call(env)
    query = Rack::Utils.parse_query(env["QUERY_STRING"])
    MEMORY[Process.pid] = MEMORY.fetch(Process.pid, 0) + 1
    PoolApp.enter(query["gate"]) if query["gate"]
    case env["PATH_INFO"]
    when "/pid" then text(Process.pid.to_s)
    when "/version" then text(VERSION)
    when "/hold" then text("held by #{Process.pid}")
    when "/stuck" then stuck_in_the_application(query.fetch("at"))
    when "/facts" then facts
    when "/cookie" then cookie
    when "/cached" then cached
    when "/oob" then out_of_band(query.fetch("body", "array"), query.fetch("header", "!~Request-OOB-Work"))
    when "/die" then Process.kill(:KILL, Process.pid) && sleep
    else text("#{env["REQUEST_METHOD"]} #{env["PATH_INFO"]}")
    end
  end

  private

  def text(string)
    [200, { "content-type" => "text/plain", "content-length" => string.bytesize.to_s }, [string]]
  end

  def facts
    threads = Thread.list.map { |thread| thread.name.to_s }
    text(JSON.generate(pid: Process.pid, ppid: Process.ppid, loading: LOADING, loaded_by: LOADED_BY, version: VERSION,
                       memory: MEMORY, threads: threads, collections: GC.count))
  end

  def cookie
    status, headers, body = text(JSON.generate(pid: Process.pid))
    [status, headers.merge("set-cookie" => "visitor=somebody; path=/"), body]
  end

  # Never the same twice, but anybody may keep it.
  def cached
    status, headers, body = text(JSON.generate(pid: Process.pid, answer: SecureRandom.hex(8)))
    [status, headers.merge("cache-control" => "public, max-age=600"), body]
  end

  # A response that asks for out-of-band work, with each kind of body.
  def out_of_band(body, header)
    headers = { "content-type" => "text/plain", header => "true" }
    pid = Process.pid.to_s
    case body
    when "array" then [200, headers, [pid]]
    when "each" then [200, headers, pid.each_char]
    when "events" then [200, headers.merge("content-type" => "text/event-stream"), pid.each_char]
    when "stream" then [200, headers, ->(stream) { pid.each_char { |char| stream.write(char) } && stream.close }]
    when "file" then [200, headers, File.open(File.join(DIRECTORY, "config.ru"))]
    when "none" then [304, headers.except("content-type"), []]
    end
  end

  def stuck_in_the_application(gate)
    PoolApp.enter(gate) # the spec looks for this line
    text("no longer stuck")
  end
end

File.write(File.join(__dir__, "boots"), "#{Process.pid}\n", mode: "a")

if defined?(PhusionPassenger)
  at_exit { PoolApp.note("at_exit #{Process.pid}") }
  PhusionPassenger.on_event(:starting_worker_process) do |forked|
    started = Process.pid
    PoolApp.note("starting #{started} #{forked}")
    at_exit { PoolApp.note("own_at_exit #{started} #{Process.pid}") }
  end
  PhusionPassenger.on_event(:stopping_worker_process) { PoolApp.note("stopping #{Process.pid}") }
end

boot = File.join(__dir__, "boot.rb")
instance_eval(File.read(boot), boot) if File.file?(boot)

plain = PoolApp.new
checked = Rack::Lint.new(plain)
# Rack::Lint knows neither that header in Rack 3 nor streams in Rack 2.
run ->(env) { (env["PATH_INFO"] == "/oob" ? plain : checked).call(env) }
