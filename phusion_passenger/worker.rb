# frozen_string_literal: true

require_relative "cable_farewell"
require_relative "early_hints"
require_relative "hijack"
require_relative "null_input"
require_relative "request_handler"
require_relative "signals"
require_relative "slot_backtraces"
require_relative "slot_pause"

module PhusionPassenger
  # An application process: one thread per slot serves requests, the main thread decides when to leave.
  class Worker
    # Milliseconds between the end of the engine and the end of this process, whatever it is doing
    HANGUP_GRACE = 900
    # Seconds of them for requests that are about to be finished
    LAST_REQUESTS = 0.5
    # Seconds over which clients of Action Cable are told to connect again, if the engine does not say
    SPREAD = 3
    # Seconds after which requests that are under way are taken to wait for the connections that they have taken over
    IN_CALL = 0.5
    # A connection takes a descriptor, and the usual limit of 1024 is there for programs that use select(2). It is raised, but
    # not to a number that takes long to go through for child processes that close all descriptors they might have.
    MOST_FILES = 65_536

    # settings: WorkerSettings; streams: descriptors of the slot streams; slots: their places on the scoreboard; place: that of the worker
    # itself; direct_queue: descriptor of the worker's own queue, nil without sticky sessions; facts: what the engine has been told about the app;
    # forked: whether this process was forked off a preloader
    def initialize(app, settings, control:, queue:, scoreboard:, streams:, slots:, facts:, forked:, place: 0, direct_queue: nil)
      @app = app
      @settings = settings
      @control = control
      @queue = queue
      @scoreboard = scoreboard
      @streams = streams
      @direct_queue = direct_queue
      @slot_numbers = slots
      @place = place
      @facts = facts
      @forked = forked
      @mailbox = Thread::Queue.new
      @threads = {} # slot => Thread
      @handlers = {} # number of a slot => RequestHandler
      @pause = SlotPause.new
      @stopping = false
      @queue_ended = false
      @keep_hijacked = false
      @spread = SPREAD
      @told_to_stop = false
      @status = 0
    end

    # Serves until it is time to leave, then exits the process. Returns in a process that was forked off this one to be a
    # preloader: what it is to do.
    def run
      prepare
      start
      serve
      successor = fork_preloader if @promotion
      return successor if successor

      wait_for_hijacked
      end_farewell
      stop
    rescue SystemExit
      raise
    rescue Exception => e # rubocop:disable Lint/RescueException
      announce(e)
      raise
    end

    private

    # For error trackers: the process ends because of this.
    def announce(error)
      PhusionPassenger.call_event(:unhandled_exception_before_exit, error)
    rescue Exception => e # rubocop:disable Lint/RescueException
      Log.exception("an event handler for :unhandled_exception_before_exit failed", e)
    end

    def prepare
      Native.exit_after_hangup(@control.fd, HANGUP_GRACE)
      Native.close_on_fork([@control.fd, @queue, *@streams, *@direct_queue])
      Process.setproctitle("Passenger RubyApp: #{@settings.app_root} (#{@settings.environment})")
      raise_file_limit
      return unless @forked

      ForkSafety.after_fork
    end

    def raise_file_limit
      soft, hard = Process.getrlimit(:NOFILE)
      wanted = [hard, MOST_FILES].min
      Process.setrlimit(:NOFILE, wanted, hard) if soft < wanted
    rescue SystemCallError => e
      Log.exception("the limit of open files stays at #{soft}", e)
    end

    # In the order in which Passenger's events are documented to happen.
    def start
      ExitHandlers.mark_as_workers_own
      PhusionPassenger.call_event(:starting_worker_process, @forked)
      PhusionPassenger.call_event(:credentials)
      install_signal_handlers
      PhusionPassenger.call_event(:after_installing_signal_handlers)
      make_slots
      @control.post("ready", "pid" => Process.pid)
    rescue Native::Disconnected
      exit!(1) # the engine died meanwhile
    rescue Exception => e # rubocop:disable Lint/RescueException
      report_boot_error(e)
      announce(e) unless e.is_a?(SystemExit)
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
      @board = Native::Scoreboard.new(@scoreboard)
      Native.close_fd(@scoreboard)
      turn = Native::Turn.new(@board, @settings.capacity, @place) if @streams.size > 1
      template = Native.env_template(env_entries)
      @slots = @streams.zip(@slot_numbers).map do |stream, number|
        Native::Slot.new(@queue, stream, @board, number, template, turn, @direct_queue)
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
      entries["rack.version"] = [1, 3].freeze if ::Rack.release.to_i < 3
      entries
    end

    def serve
      @slots.each { |slot| start_thread(slot) }
      listen_to_engine
      until @threads.empty?
        event, *details = *@mailbox.pop
        case event
        when :stop
          stop_slots(*details)
          begin_farewell unless @promotion # the clients are told after the fork
        when :engine_gone then leave_in_time
        when :time_is_up then break
        when :slot_ended then slot_ended(*details)
        when :slot_resting then slot_resting(*details)
        when :oob_wanted then want_oob_work
        when :oob_work then begin_oob_work
        when :promote then promote(*details)
        end
      end
    end

    # Connections that the application has taken over keep the process if the engine says so. When the end of the queue
    # has come first, the engine's word may still be to come.
    def wait_for_hijacked
      return if Hijack.open_connections.zero? || !(@keep_hijacked || (@queue_ended && !@told_to_stop)) || @threads.any?

      waiting = false
      loop do
        if @keep_hijacked && !waiting
          waiting = true
          Hijack.when_all_closed { @mailbox << :hijacked_closed }
        end
        event, = *@mailbox.pop
        @engine_gone = true if event == :engine_gone
        break if %i[hijacked_closed engine_gone time_is_up].include?(event)
        break if event == :stop && !@keep_hijacked
      end
    end

    # While requests finish, the clients of Action Cable are told to go. Then the engine may close what else the
    # application holds; if the requests are over by then, the process closes it when it ends.
    def begin_farewell
      return if @farewell || @keep_hijacked || @engine_gone

      spread = @spread
      began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      @farewell = Thread.new do
        Thread.current.name = "passenger farewell"
        CableFarewell.new.tap do |farewell|
          farewell.say(spread)
          sleep(0.02) until @threads.empty? || Process.clock_gettime(Process::CLOCK_MONOTONIC) > began + IN_CALL
          tell("farewell_over") if @threads.any?
        end
      end
    end

    def end_farewell
      begin_farewell
      @farewell&.value&.finish unless @engine_gone
    rescue StandardError => e
      Log.exception("the clients of Action Cable could not be told to connect again", e)
    end

    def start_thread(slot)
      @threads[slot] = Thread.new { serve_slot(slot) }.tap { |thread| thread.name = "passenger slot #{@slot_numbers[@slots.index(slot)]}" }
    end

    def serve_slot(slot)
      Thread.current.report_on_exception = false
      outcome = :killed
      Native.batch_scheduling
      PhusionPassenger.call_event(:starting_request_handler_thread)
      handler = RequestHandler.new(@app, slot, leave: ->(reason) { @mailbox << [:stop, reason] }, rest: -> { rest(slot) },
                                               oob_wanted: -> { @mailbox << :oob_wanted })
      @handlers[@slot_numbers[@slots.index(slot)]] = handler
      handler.run
      outcome = :ended
    rescue Exception => e # rubocop:disable Lint/RescueException
      outcome = e
    ensure
      @mailbox << [:slot_ended, slot, outcome]
    end

    def slot_ended(slot, outcome)
      @threads.delete(slot)
      @pause.not_resting(slot)
      case outcome
      when :killed
        # The application has killed the thread of a request; the next request finds a new one.
        @stopping ? nil : start_thread(slot)
      when Exception
        Log.exception("a request handler thread has ended; the worker leaves", outcome)
        announce(outcome)
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
          obey(message)
        end
        @mailbox << :engine_gone
      rescue SystemCallError, IOError, Native::ProtocolError => e
        Log.exception("the connection to the engine failed", e) unless e.is_a?(Native::Disconnected)
        @mailbox << :engine_gone
      end
    end

    # In the control thread; everything but a backtrace, and what concerns one response alone, is a matter of the main thread.
    def obey(message)
      case message.verb
      when "stop"
        told_to_leave(message)
        @mailbox << :stop
      when "oob_work" then @mailbox << :oob_work
      when "promote"
        told_to_leave(message)
        @mailbox << [:promote, *message.fds]
      when "backtrace" then post_backtraces(message)
      when "client_gone" then @handlers[message.fetch("slot").to_i]&.client_gone(message.fetch("request").to_i)
      else @control.refuse(message)
      end
    end

    def told_to_leave(message)
      @told_to_stop = true
      @keep_hijacked = message.fields["keep_hijacked"] == "1"
      @spread = message.fields["spread_ms"].to_i / 1000.0 if message.fields.key?("spread_ms")
    end

    # The threads may be stuck in whatever they do, and the main thread may wait for them.
    def post_backtraces(message)
      numbers = message.fetch("slots").split(",").map(&:to_i)
      threads = @slots.zip(@slot_numbers).to_h { |slot, number| [number, @threads[slot]] }
      @control.post("backtrace", "token" => message.fetch("token"), "text" => SlotBacktraces.new(threads).text(numbers))
    end

    # For what the main thread has to say; that the engine has gone is heard by the control thread.
    def tell(verb, fields = {})
      @control.post(verb, fields)
    rescue Native::Disconnected
      nil
    end

    def want_oob_work
      return if @oob_wanted || @stopping

      @oob_wanted = true
      tell("oob_wanted")
    end

    def begin_oob_work
      return if @stopping || @pause.on?

      @oob_wanted = false
      @pause.begin(@threads)
    end

    # In the thread of the slot
    def rest(slot)
      @mailbox << [:slot_resting, slot]
      @pause.wait
    end

    def slot_resting(slot)
      return unless @pause.on?

      @pause.resting(slot)
      do_oob_work if @pause.all_resting?(@slots)
    end

    def do_oob_work
      @oob_wanted = false # also what requests have asked for that were still under way
      PhusionPassenger.call_event(:oob_work)
    rescue Exception => e # rubocop:disable Lint/RescueException
      Log.exception("an event handler for :oob_work failed", e)
      stop_slots("it raised #{e.class}") if RequestHandler::FATAL.any? { |kind| e.is_a?(kind) }
    ensure
      tell("oob_done")
      @pause.end(@slots)
    end

    def stop_slots(reason = nil)
      return if @stopping

      Log.write("#{reason}; the worker leaves when its other requests are finished") if reason
      @stopping = true
      @slots.each { |slot| slot.stop(@threads[slot]) }
      @pause.end(@slots) if @pause.on?
    end

    # control: descriptor of the control socket that the new preloader gets
    def promote(control)
      return refuse_promotion(control, "the worker was leaving already") if @stopping

      @promotion = control
      stop_slots
    end

    def refuse_promotion(control, reason)
      Log.write("the worker could not become a preloader: #{reason}")
      tell("promote_error", "message" => reason)
      Native.close_fd(control)
      nil
    end

    # Called when the requests are finished. The first part of the life of a preloader, in the process that is to lead it;
    # nil in this one.
    def fork_preloader
      return refuse_promotion(@promotion, "its requests did not come to a regular end") unless @threads.empty? && @status.zero?

      begin
        pid = fork
      rescue SystemCallError, NoMemoryError => e
        return refuse_promotion(@promotion, "fork failed: #{e.message}")
      end
      return become_preloader if pid.nil?

      Native.close_fd(@promotion)
      tell("promoted", "pid" => pid)
      nil
    end

    # What the fork does not leave behind by itself. The threads are gone, and the sockets are closed (close_on_fork).
    def become_preloader
      Signals.reset
      ExitHandlers.leave_out_workers_own
      @slots.each(&:close)
      @board.forget
      Hijack.disown
      Process.setproctitle("Passenger AppPreloader: #{@settings.app_root}")
      Loader.new(Control.new(@promotion), @app, facts: @facts)
    end

    def leave_in_time
      @engine_gone = true
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
