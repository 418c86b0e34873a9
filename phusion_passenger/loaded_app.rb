# frozen_string_literal: true

module PhusionPassenger
  # What workers need to know from the engine's hello
  WorkerSettings = Struct.new(:app_root, :environment, :server_software, :threads, :capacity, :x_accel_mapping)

  # An application that is ready to be served, and the generation it is served in.
  #
  # rack_app:: the object that gets the requests
  # facts::    what the engine has been told about it: fields of `loaded`
  # queue, scoreboard:: descriptors of the generation
  LoadedApp = Struct.new(:rack_app, :facts, :settings, :queue, :scoreboard, keyword_init: true)
end
