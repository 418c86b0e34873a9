# frozen_string_literal: true

require_relative "log"
require_relative "fork_safety/family"
require_relative "fork_safety/randomness"
require_relative "fork_safety/fork_hooks"
require_relative "fork_safety/cable_server"
require_relative "fork_safety/rails_cache"
require_relative "fork_safety/connection_pools"
require_relative "fork_safety/redis_clients"
require_relative "fork_safety/dalli_clients"
require_relative "fork_safety/mongo_clients"
require_relative "fork_safety/sequel_databases"
require_relative "fork_safety/active_record_pools"
require_relative "fork_safety/raw_connections"

module PhusionPassenger
  # What an application has opened while it was loaded must not be shared by the processes that are forked from it, and what
  # it has begun there must go on in each of them. docs/fork-safety.md tells what is done for which library.
  #
  # A library that raises is reported and left alone: the application may not need it, and a block for
  # :starting_worker_process may put it right.
  module ForkSafety
    # One after the other: what uses connections comes before what provides them.
    FAMILIES = [
      Randomness, ForkHooks, CableServer, RailsCache, ConnectionPools, RedisClients, DalliClients, MongoClients, SequelDatabases,
      ActiveRecordPools, RawConnections
    ].map(&:new).freeze

    @owner = Process.pid # of the connections that are open in this process
    @renewed_in = nil

    class << self
      # For a process that others will be forked from, when the application is loaded.
      def before_fork
        FAMILIES.each(&:disowned) unless @owner == Process.pid
        FAMILIES.each(&:before_fork)
        @owner = Process.pid
        @renewed_in = nil # a process id comes again, the process does not
      end

      # For a process that serves, before the application's own code runs in it. A second call does nothing: it would take
      # away what the application has connected since the first.
      def after_fork
        return if @renewed_in == Process.pid

        @renewed_in = @owner = Process.pid
        FAMILIES.each(&:after_fork)
      end
    end
  end
end
