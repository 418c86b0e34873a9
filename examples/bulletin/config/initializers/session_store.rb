Rails.application.config.session_store :cookie_store, key: "_bulletin_session", same_site: :lax
