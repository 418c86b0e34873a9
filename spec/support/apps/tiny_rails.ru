# frozen_string_literal: true

# A whole Rails application in one file: what it puts into its caches says how often it was asked. Its settings come from
# settings.rb next to it.

require "action_controller/railtie"
require "actionpack/page_caching"

class TinyRails < Rails::Application
  config.root = __dir__
  config.load_defaults 6.1
  config.eager_load = true
  config.secret_key_base = "x" * 64
  config.logger = Logger.new(File::NULL)
  config.hosts.clear
  config.action_controller.perform_caching = true
  settings = File.join(__dir__, "settings.rb")
  instance_eval(File.read(settings), settings) if File.file?(settings)

  routes.append do
    get "/page/:name" => "pages#show"
    delete "/page/:name" => "pages#expire"
    get "/up" => ->(_env) { [200, { "content-type" => "text/plain" }, ["up"]] }
    match "*anything" => "pages#count", via: :all
    root to: "pages#count"
  end
end

Rails.application.initialize!

class PagesController < ActionController::Base
  skip_forgery_protection
  caches_page :show
  self.page_cache_directory = Rails.configuration.x.pages.directory if Rails.configuration.x.pages.directory

  COUNTER = Rails.root.join("tmp/counter")

  def show = render(html: "page #{params[:name]}, answer #{asked}")

  def expire
    expire_page("/page/#{params[:name]}")
    head :no_content
  end

  def count = render(plain: "answer #{asked}")

  private

  # Counts over all processes.
  def asked
    File.open(COUNTER, "a+") do |file|
      file.flock(File::LOCK_EX)
      file.write(".")
      file.flush
      file.size
    end
  end
end

run Rails.application
