# frozen_string_literal: true

module Harness
  # Connections that are busy all the time, each in its own thread, one request after the other. What becomes of every
  # request is counted: answered (by status), cut off, refused; a request without an answer within the deadline has hung.
  class Load
    Outcome = Struct.new(:kind, :detail)

    CONNECTIONS = 16

    attr_reader :outcomes

    def initialize(server, path = "/pid", connections: CONNECTIONS, within: 20)
      @server = server
      @path = path
      @within = within
      @outcomes = Queue.new
      @stopping = false
      @threads = Array.new(connections) { Thread.new { work } }
    end

    # Runs for as long as the block takes, then ends after each connection's request; gives all outcomes.
    def self.during(server, path = "/pid", **options)
      load = new(server, path, **options)
      begin
        yield load
      ensure
        results = load.finish
      end
      results
    end

    def finish
      @stopping = true
      @threads.each(&:join)
      Array.new(@outcomes.size) { @outcomes.pop }
    end

    # Waits until so many further requests have had their answer.
    def wait_for(count)
      target = @outcomes.size + count
      Harness.eventually(-> { "answer to #{count} requests under load (#{@outcomes.size} of #{target})" }, within: 30) do
        @outcomes.size >= target || @threads.none?(&:alive?)
      end
    end

    # One after another until the server no longer takes connections; the load ends by itself then.
    def ended?
      @threads.none?(&:alive?)
    end

    private

    def work
      client = nil
      until @stopping
        client ||= connect or return
        client = nil unless one_request(client)
      end
    ensure
      client&.close
    end

    def connect
      HTTPClient.new(@server.address, within: @within)
    rescue Errno::ECONNREFUSED, Errno::ENOENT
      @outcomes << Outcome.new(:refused, nil)
      nil
    rescue Errno::ECONNRESET
      @outcomes << Outcome.new(:cut, "while connecting")
      nil
    end

    # True while the connection can go on.
    def one_request(client)
      response = client.get(@path)
      @outcomes << Outcome.new(response.status, response.body)
      return true unless response["connection"]&.casecmp?("close")

      client.close
      false
    rescue HTTPClient::ConnectionEnded => error
      @outcomes << Outcome.new(:cut, error.message)
      client.close
      false
    rescue DeadlineExceeded => error
      @outcomes << Outcome.new(:hung, error.message)
      client.close
      false
    end
  end
end
