# frozen_string_literal: true

require_relative "engine"

module PhusionPassenger
  # Runs an engine until it is told to stop, by a signal or by #stop:
  #
  #   INT, TERM   stop; requests in flight may finish. A second one stops at once.
  #   HUP         stop if the server was started in a terminal (which has been closed), else nothing.
  #   USR1        nothing yet; reserved for reopening log files, and must not end the server.
  class Server
    # How much longer than shutdown_timeout the engine may take to report that it has stopped.
    STOP_GRACE = 10

    # What a signal handler may do is little: it writes one byte, the main loop does the rest.
    SIGNAL_BYTES = { "INT" => "s", "TERM" => "s", "HUP" => "h", "USR1" => "u" }.freeze

    attr_reader :url

    # engine::           not started yet
    # shutdown_timeout:: seconds
    # interactive::      whether a terminal that goes away ends the server
    # on_event::         called with each Engine::Event, and with an event :stopping (text: "drain" or "force") when the
    #                    server begins to stop
    def initialize(engine, shutdown_timeout:, interactive: $stdin.tty?, &on_event)
      @engine = engine
      @shutdown_timeout = shutdown_timeout
      @interactive = interactive
      @on_event = on_event || proc {}
      @wake_reader, @wake_writer = IO.pipe
      @stopping = nil
    end

    # Serves. Returns the exit code: 0 after an orderly stop, 1 after a forced one. Raises Engine::Error.
    #
    # Signals are handled only in the main thread; a server in another thread (a test suite) is ended with #stop, or by
    # ending the thread.
    def run
      with_signals do
        @engine.start
        yield self if block_given?
        serve
      end
    ensure
      end_engine if @engine.started? && !@stopped
      close
    end

    # Asks the server to stop; returns at once. May be called from any thread and from signal handlers.
    def stop(force: false)
      wake(force ? "f" : "s")
    end
    alias stop! stop

    # Replaces the application's processes by fresh ones; returns at once.
    def restart
      wake("r")
    end

    private

    def with_signals
      return yield unless Thread.current == Thread.main

      previous = SIGNAL_BYTES.to_h { |name, byte| [name, trap(name) { wake(byte) }] }
      # nohup starts a program with HUP ignored, and expects that it stays so.
      trap("HUP", "IGNORE") if previous["HUP"] == "IGNORE"
      begin
        yield
      ensure
        previous.each { |name, handler| trap(name, handler || "DEFAULT") }
      end
    end

    def wake(byte)
      @wake_writer.write_nonblock(byte, exception: false)
    rescue IOError, Errno::EPIPE
      # The server has ended already.
    end

    def serve
      until @stopped
        ready, = IO.select([@engine.events, @wake_reader], nil, nil, seconds_left)
        raise Engine::Error, "the engine did not stop within #{@shutdown_timeout + STOP_GRACE} seconds" unless ready

        read_events if ready.include?(@engine.events)
        obey(@wake_reader.read_nonblock(64)) if ready.include?(@wake_reader) && !@stopped
      end
      @exit_code
    end

    def read_events
      @engine.read_events.each { |event| note(event) }
    rescue Engine::Error
      @stopped = true # there is nothing left to stop
      raise
    end

    def obey(bytes)
      bytes.each_char do |byte|
        case byte
        when "s" then begin_stop(force: !@stopping.nil?)
        when "f" then begin_stop(force: true)
        when "h" then begin_stop(force: false) if @interactive && !@stopping
        when "r" then @engine.restart unless @stopping
        end
      end
    end

    def begin_stop(force:)
      way = force ? :force : :drain
      return if @stopping == :force || @stopping == way

      @stopping = way
      @deadline = now + STOP_GRACE + (force ? 0 : @shutdown_timeout)
      @engine.stop(force: force)
      @on_event.call(Engine::Event.new(:stopping, way.to_s))
    end

    def note(event)
      case event.kind
      when :listening then @url ||= event.text
      when :stopped
        @stopped = true
        @exit_code = @stopping == :force ? 1 : event.text.to_i
      end
      @on_event.call(event)
    end

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

    def seconds_left
      @deadline && [@deadline - now, 0].max
    end

    # The thread is being killed, or something raised: the engine must not outlive its server.
    def end_engine
      begin_stop(force: true)
      serve
    end

    def close
      [@wake_reader, @wake_writer, @engine.events].each { |io| io&.close }
    end
  end
end
