# frozen_string_literal: true

require_relative "hijack"
require_relative "null_input"
require_relative "request_handler"
require_relative "signals"

module PhusionPassenger
  # An application process: one thread per slot serves requests, the main thread decides when to leave.
  class Worker
    # Milliseconds between the end of the engine and the end of this process, whatever it is doing
    HANGUP_GRACE = 900
    # Seconds of them for requests that are about to be finished
    LAST_REQUESTS = 0.5

    # settings: Preloader::Settings; streams: descriptors of the slot streams; slots: their places on the scoreboard
    def initialize(app, settings, control:, queue:, scoreboard:, streams:, slots:)
      @app = app
      @settings = settings
      @control = control
      @queue = queue
      @scoreboard = scoreboard
      @streams = streams
      @slot_numbers = slots
      @mailbox = Thread::Queue.new
      @threads = {}
      @stopping = false
      @queue_ended = false
      @keep_hijacked = false
      @status = 0
    end

    # Serves until it is time to leave, then exits the process.
    def run
      prepare
      start
      serve
      wait_for_hijacked
      stop
    rescue SystemExit
      raise
    rescue Exception => e # rubocop:disable Lint/RescueException
      PhusionPassenger.call_event(:unhandled_exception_before_exit, e)
      raise
    end

    private

    def prepare
      Native.exit_after_hangup(@control.fd, HANGUP_GRACE)
      Native.close_on_fork([@control.fd, @queue, *@streams])
      Process.setproctitle("Passenger RubyApp: #{@settings.app_root} (#{@settings.environment})")
      srand
      ForkSafety.after_fork
    end

    # In the order in which Passenger's events are documented to happen.
    def start
      PhusionPassenger.call_event(:starting_worker_process, true)
      PhusionPassenger.call_event(:credentials)
      install_signal_handlers
      PhusionPassenger.call_event(:after_installing_signal_handlers)
      make_slots
      @control.post("ready", "pid" => Process.pid)
    rescue Native::Disconnected
      exit!(1) # the engine died meanwhile
    rescue Exception => e # rubocop:disable Lint/RescueException
      report_boot_error(e)
      exit(1)
    end

    def report_boot_error(error)
      report = BootError.new(error, @settings.app_root)
      Log.write(report.to_s)
      @control.post("boot_error", report.fields)
    rescue Native::Disconnected
      # It is in the log.
    end

    def install_signal_handlers
      Signals.reset
      # Ctrl-C in a terminal reaches every process; the engine decides what is finished and what is not.
      trap("INT", "IGNORE")
      trap("HUP", "IGNORE")
      trap("TERM") { @mailbox << :stop }
      trap("QUIT") { Signals.dump_threads }
    end

    def make_slots
      board = Native::Scoreboard.new(@scoreboard)
      turn = Native::Turn.new if @streams.size > 1
      template = Native.env_template(env_entries)
      @slots = @streams.zip(@slot_numbers).map do |stream, number|
        Native::Slot.new(@queue, stream, board, number, template, turn)
      end
    end

    # What is the same in the environments of all requests.
    def env_entries
      entries = {
        "SCRIPT_NAME" => "",
        "QUERY_STRING" => "",
        "SERVER_SOFTWARE" => @settings.server_software.dup.freeze,
        "rack.errors" => $stderr,
        "rack.input" => NullInput.new,
        "rack.url_scheme" => "http",
        "rack.multithread" => @streams.size > 1,
        "rack.multiprocess" => @settings.capacity > @streams.size,
        "rack.run_once" => false,
        "rack.hijack?" => true, # rack.hijack itself is made for each request
        # For code of the application that asks how files are sent: the engine understands this response header.
        "HTTP_X_SENDFILE_TYPE" => "X-Sendfile",
        # Rack::Sendfile asks this entry first, and "" tells it to do nothing: a body that names a file (to_path) is opened
        # by the worker, which is better than a path that the engine opens later. The body may delete its file when it is
        # closed, and may name any file that this process can read.
        "sendfile.type" => ""
      }
      # An application that names its files by URI (x_sendfile_header = "X-Accel-Redirect") learns by which one.
      entries["HTTP_X_ACCEL_MAPPING"] = @settings.x_accel_mapping.dup.freeze unless @settings.x_accel_mapping.empty?
      entries["rack.version"] = [1, 3].freeze if Rack.release.to_i < 3
      entries
    end

    def serve
      @slots.each { |slot| start_thread(slot) }
      listen_to_engine
      until @threads.empty?
        event, *details = *@mailbox.pop
        case event
        when :stop then stop_slots(*details)
        when :engine_gone then leave_in_time
        when :time_is_up then break
        when :slot_ended then slot_ended(*details)
        end
      end
    end

    # Connections that the application has taken over keep the process if the engine says so. When the end of the queue
    # has come first, the engine's word is still to come.
    def wait_for_hijacked
      return if Hijack.open_connections.zero? || !(@keep_hijacked || @queue_ended) || @threads.any?

      waiting = false
      loop do
        if @keep_hijacked && !waiting
          waiting = true
          Hijack.when_all_closed { @mailbox << :hijacked_closed }
        end
        event, = *@mailbox.pop
        break if %i[hijacked_closed engine_gone time_is_up].include?(event)
        break if event == :stop && !@keep_hijacked
      end
    end

    def start_thread(slot)
      @threads[slot] = Thread.new { serve_slot(slot) }.tap { |thread| thread.name = "passenger slot" }
    end

    def serve_slot(slot)
      Thread.current.report_on_exception = false
      outcome = :killed
      Native.batch_scheduling
      PhusionPassenger.call_event(:starting_request_handler_thread)
      RequestHandler.new(@app, slot, ->(reason) { @mailbox << [:stop, reason] }).run
      outcome = :ended
    rescue Exception => e # rubocop:disable Lint/RescueException
      outcome = e
    ensure
      @mailbox << [:slot_ended, slot, outcome]
    end

    def slot_ended(slot, outcome)
      @threads.delete(slot)
      case outcome
      when :killed
        # The application has killed the thread of a request; the next request finds a new one.
        @stopping ? nil : start_thread(slot)
      when Exception
        Log.exception("a request handler thread has ended; the worker leaves", outcome)
        @status = 1
        slot.close
        stop_slots
      else
        @queue_ended = true unless @stopping
        stop_slots
      end
    end

    def listen_to_engine
      Thread.new do
        Thread.current.name = "passenger control"
        while (message = @control.receive)
          next unless message.verb == "stop"

          @keep_hijacked = message.fields["keep_hijacked"] == "1"
          @mailbox << :stop
        end
        @mailbox << :engine_gone
      rescue SystemCallError, Native::ProtocolError => e
        Log.exception("the connection to the engine failed", e)
        @mailbox << :engine_gone
      end
    end

    def stop_slots(reason = nil)
      return if @stopping

      Log.write("#{reason}; the worker leaves when its other requests are finished") if reason
      @stopping = true
      @slots.each(&:stop)
      @threads.each_value(&:wakeup)
    rescue ThreadError
      # A thread has ended by itself meanwhile.
      retry_wakeups
    end

    def retry_wakeups
      @threads.each_value { |thread| thread.wakeup if thread.alive? }
    end

    def leave_in_time
      stop_slots
      Thread.new do
        sleep(LAST_REQUESTS)
        @mailbox << :time_is_up
      end
    end

    def stop
      PhusionPassenger.call_event(:stopping_worker_process)
    rescue Exception => e # rubocop:disable Lint/RescueException
      Log.exception("an event handler for :stopping_worker_process failed", e)
    ensure
      exit(@status)
    end
  end
end
