# frozen_string_literal: true

module PhusionPassenger
  # Guarded because a worker may have this file under one path and the application's bundle under another (a symlinked
  # deployment, say), and Ruby would warn about the second definition.
  VERSION = "7.0.0" unless const_defined?(:VERSION, false)

  # The name under which applications ask for the version.
  VERSION_STRING = VERSION unless const_defined?(:VERSION_STRING, false)
end
