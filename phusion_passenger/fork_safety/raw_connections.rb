# frozen_string_literal: true

module PhusionPassenger
  module ForkSafety
    # Connections of database drivers that are still open when every pool has closed its own: the application has made them
    # itself. Nobody but the application can make them anew, so it is told.
    class RawConnections < Family
      # Class => method that tells whether a connection is closed
      DRIVERS = { "PG::Connection" => :finished?, "Mysql2::Client" => :closed?, "Trilogy" => :closed?,
                  "SQLite3::Database" => :closed? }.freeze

      def initialize
        super
        @told = false
      end

      # Not again in a process that was forked from one where it was said: what it has given up looks open, too.
      def before_fork
        return if @told

        @told = true
        DRIVERS.each do |name, closed|
          # The second look is at what the application really holds.
          next if unclosed(name, closed).empty? || GC.start || (number = unclosed(name, closed).size).zero?

          Log.write("fork safety: #{number} open #{name} #{number == 1 ? "belongs" : "belong"} to no pool that could be emptied before " \
                    "workers are forked. They must not use it: open it in PhusionPassenger.on_event(:starting_worker_process)")
        end
      end

      # Closing a connection says goodbye to the server, which would end the parent's. What is written from now on goes
      # nowhere.
      def disowned
        each_of(unclosed("PG::Connection", :finished?), "giving up a connection of PostgreSQL") do |connection|
          connection.socket_io.reopen(IO::NULL)
        end
        each_of(unclosed("Mysql2::Client", :closed?), "giving up a connection of MySQL") { |client| client.automatic_close = false }
        each_of(unclosed("Trilogy", :closed?), "giving up a connection of MySQL", &:discard!)
        each_of(objects("OpenSSL::SSL::SSLSocket"), "giving up a TLS connection") do |socket|
          socket.io.reopen(IO::NULL) unless socket.io.closed?
        end
      end

      private

      def unclosed(name, closed)
        objects(name).reject do |connection|
          connection.public_send(closed)
        rescue *FAILURES
          true # allocated, but never connected
        end
      end
    end
  end
end
