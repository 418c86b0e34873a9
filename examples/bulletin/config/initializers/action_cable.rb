# The board is public and is served under many names and ports; a page may talk to the server it came from.
Rails.application.config.action_cable.allow_same_origin_as_host = true
