# frozen_string_literal: true

# The benchmark harness: starts this project's server and its peers side by side, loads them in turn and compares.
# It reads Linux's /proc and prctl(2) and needs nothing but Ruby's standard library. Entry point: bin/bench.
module Bench
  ROOT = File.expand_path("..", __dir__)

  # Something that ends the run, told in words that name the remedy.
  class Error < StandardError; end
end

%w[clock shell units spread table process_tree keeper probe wrk machine metric measurement noise plot document
   app bulletin contest
   servers/passenger servers/puma servers/original servers/rails_server servers/nginx].each { |name| require_relative "harness/#{name}" }

module Bench
  # In the order of the tables.
  SERVERS = [Servers::Passenger, Servers::Puma, Servers::Original].freeze
  # Those that serve static files by themselves. (The original's builtin engine does not.)
  STATIC_SERVERS = [Servers::Passenger, Servers::Nginx, Servers::Puma].freeze
  # Those that are compared when it comes to processes, and to sockets.
  POOL_SERVERS = [Servers::Passenger, Servers::Puma].freeze
  CABLE_SERVERS = [Servers::Passenger, Servers::Puma].freeze
  EVERY_SERVER = (SERVERS | STATIC_SERVERS).freeze
end

%w[static/site static/case
   pool/part pool/site pool/admin pool/load pool/tally pool/steady pool/sharing pool/visits pool/affinity pool/restarts pool/kills pool/memory
   pool/flood pool/refork pool/contest
   cable/client cable/app cable/part cable/held cable/quiet cable/adapters cable/contest
   setup server session sample side_by_side report boot idle
   static/contest static/report static/memory command].each { |name| require_relative "harness/#{name}" }

exit Bench::Command.run(ARGV) if $PROGRAM_NAME == __FILE__
