Rails.application.configure do
  config.cache_classes = true
  config.eager_load = !ENV["CI"].to_s.empty?
  config.consider_all_requests_local = true
  config.action_controller.perform_caching = false
  config.cache_store = :null_store

  # Exceptions become error pages, as in production: the tests of a server look at what reaches the client.
  config.action_dispatch.show_exceptions = Rails::VERSION::STRING < "7.1" ? true : :all

  # The forms are tested with their tokens.
  config.action_controller.allow_forgery_protection = true

  config.active_support.deprecation = :stderr
end
