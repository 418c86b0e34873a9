# frozen_string_literal: true

module PhusionPassenger
  # Takes leave of the clients of Action Cable in a process that is to leave: each gets Action Cable's own message that says
  # why, and a close frame. Its client connects again, to a process that stays.
  #
  # Not all at once: every one of them authenticates, subscribes and asks the database for what it has missed.
  class CableFarewell
    # Seconds between two connections, less if that would take longer than allowed: about what a process needs to accept
    # one, check who it is, and confirm its subscription. A few are through before anybody notices.
    EACH = 0.003
    # Seconds for the clients to answer the last close frames. One that has lost its network does not answer at all.
    CLOSING = 2
    # Seconds for connections whose requests have only just been answered to become known to Action Cable
    OPENING = 1
    INTERVAL = 0.02
    # Action Cable's own word for it
    REASON = "server_restart"

    # open_connections: tells how many connections the application has taken over and not closed, be they Action Cable's or not
    def initialize(open_connections: -> { Hijack.open_connections })
      @open_connections = open_connections
      @told = {}.compare_by_identity
    end

    # Tells all that there are, within so many seconds, and those that have come meanwhile; returns when they have closed,
    # or have had time enough to. (On a busy machine it may take longer to tell them. The engine knows when to end that:
    # connections that it has closed are gone from here.)
    def say(spread)
      until (untold = connections.reject { |connection| @told.key?(connection) }).empty?
        Log.write("#{untold.size} Action Cable clients are told to connect again") unless @told.any?
        tell_all(untold, spread)
        spread = 0
      end
      await(now + CLOSING) { connections.empty? }
    end

    # The same, when requests are no longer under way, for those that these have opened.
    def finish
      return if server.nil?

      await(now + OPENING) { @open_connections.call <= connections.size }
      say(0) unless connections.all? { |connection| @told.key?(connection) }
    end

    private

    def tell_all(connections, spread)
      began = now
      pause = [EACH, spread.to_f / connections.size].min
      connections.each_with_index do |connection, index|
        late = began + (index * pause) - now
        sleep(late) if late.positive?
        tell(connection)
      end
    end

    def tell(connection)
      @told[connection] = true
      connection.close(reason: REASON, reconnect: true)
    rescue StandardError => e
      Log.exception("a connection of Action Cable could not be closed", e)
    end

    def connections = server ? server.connections.dup : []

    # ActionCable.server would make one.
    def server
      @server ||= defined?(::ActionCable) ? ::ActionCable.instance_variable_get(:@server) : nil
    end

    def await(deadline)
      sleep(INTERVAL) until yield || now > deadline
    end

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
