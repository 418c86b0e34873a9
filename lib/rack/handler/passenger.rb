# frozen_string_literal: true

# Rack looks here when somebody asks for the server by name (`rackup -s passenger`) and the gem has not been loaded.
require_relative "../../phusion_passenger/rack_handler"
PhusionPassenger::RackHandler::Registration.install
