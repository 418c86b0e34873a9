# Sprockets 3 reads this list; Sprockets 4 reads app/assets/config/manifest.js.
Rails.application.config.assets.precompile = %w[application.css application.js logo.svg] if Sprockets::VERSION < "4"
