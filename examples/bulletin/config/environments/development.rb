require "active_support/core_ext/integer/time"

Rails.application.configure do
  config.cache_classes = false
  config.eager_load = false
  config.consider_all_requests_local = true

  # `bin/rails dev:cache` switches caching (and with it the cached highlights page) on and off.
  if Rails.root.join("tmp/caching-dev.txt").exist?
    config.action_controller.perform_caching = true
    config.cache_store = :memory_store
  else
    config.action_controller.perform_caching = false
    config.cache_store = :null_store
  end

  config.active_support.deprecation = :log
  config.active_record.migration_error = :page_load
  config.active_record.verbose_query_logs = true

  # Precompiled assets, where there are any, are used in development too: they show what the server does with digested files.
  # After `bin/rails assets:clobber` Sprockets compiles on the fly, and edits show up with the next request.
  config.assets.debug = !Rails.root.join("public/assets").exist?
  config.assets.quiet = true

  config.file_watcher = ActiveSupport::FileUpdateChecker
end
