require_relative "../local_secret"

Rails.application.configure do
  config.cache_classes = true
  config.eager_load = true
  config.consider_all_requests_local = false
  config.action_controller.perform_caching = true
  config.cache_store = :memory_store

  config.secret_key_base = LocalSecret.fetch(Rails.root.join("tmp/production_secret.txt"))

  # The application server serves public/ itself. Set this to run behind a server that does not.
  config.public_file_server.enabled = !ENV["RAILS_SERVE_STATIC_FILES"].to_s.empty?

  # Assets are precompiled: a missing one is an error, never a slow request.
  config.assets.compile = false

  config.log_level = ENV.fetch("RAILS_LOG_LEVEL", "info").to_sym
  config.log_tags = [:request_id]
  config.log_formatter = ::Logger::Formatter.new
  unless ENV["RAILS_LOG_TO_STDOUT"].to_s.empty?
    logger = ActiveSupport::Logger.new($stdout)
    logger.formatter = config.log_formatter
    config.logger = ActiveSupport::TaggedLogging.new(logger)
  end

  config.i18n.fallbacks = true
  config.active_support.deprecation = :notify
end
