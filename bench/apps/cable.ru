# frozen_string_literal: true

# Action Cable and an ordinary page, with as little as possible of the rest of Rails. CABLE_ADAPTER names the adapter, CABLE_WORKERS
# the number of threads that write to sockets (Rails' default is 4).

require "rails"
require "action_controller/railtie"
require "action_cable/engine"

class CableBenchmark < Rails::Application
  config.root = __dir__
  config.eager_load = true
  config.secret_key_base = "0123456789abcdef" * 8
  config.logger = Logger.new(IO::NULL)
  config.hosts.clear
  config.action_cable.disable_request_forgery_protection = true
  config.action_cable.mount_path = "/cable"
  config.action_cable.worker_pool_size = Integer(ENV.fetch("CABLE_WORKERS", "4"))
  config.action_cable.cable = { "adapter" => ENV.fetch("CABLE_ADAPTER"), "url" => ENV["REDIS_URL"] }.compact
end

class BenchmarkChannel < ActionCable::Channel::Base
  def subscribed
    stream_from "benchmark_#{params.fetch('stream')}"
  end
end

class PagesController < ActionController::Base
  def hello
    render plain: "Hello world\n"
  end

  # POST /broadcast?stream=3&first=17&count=1: numbered messages with the time at which they were sent.
  def broadcast
    first = Integer(params.fetch(:first))
    Integer(params.fetch(:count)).times do |index|
      message = { n: first + index, at: Process.clock_gettime(Process::CLOCK_MONOTONIC) }
      ActionCable.server.broadcast("benchmark_#{params.fetch(:stream)}", message)
    end
    head :no_content
  end
end

CableBenchmark.initialize!
CableBenchmark.routes.draw do
  root "pages#hello"
  post "broadcast" => "pages#broadcast"
end

run CableBenchmark
