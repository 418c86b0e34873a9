require_relative "boot"

require "rails"
require "active_model/railtie"
require "active_job/railtie"
require "active_record/railtie"
require "action_controller/railtie"
require "action_view/railtie"
require "action_cable/engine"
require "sprockets/railtie"

Bundler.require(*Rails.groups)

module Bulletin
  class Application < Rails::Application
    # The oldest Rails that the application runs on; newer ones keep its behaviour.
    config.load_defaults 6.1

    # db/schema.rb was written by Rails 6.1 and loads everywhere; a newer Rails would rewrite it in its own dialect.
    config.active_record.dump_schema_after_migration = false

    config.time_zone = "UTC"
    config.generators.system_tests = nil

    # Where uploaded files are kept, one directory per environment.
    config.x.storage_path = Rails.root.join("storage", Rails.env)
  end
end
