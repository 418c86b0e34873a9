# frozen_string_literal: true

require_relative "open_response"
require_relative "response"

module PhusionPassenger
  # What one slot does with its requests, one after another.
  class RequestHandler
    # Exceptions after which a process should not go on; what was begun by others is still finished.
    FATAL = [SystemExit, SignalException, NoMemoryError].freeze

    # leave::      called (with a reason for the log, or nil) when this worker must take no further requests
    # rest::       called when the slot is paused; returns when it may go on
    # oob_wanted:: called after a response with which the application has asked for out-of-band work
    def initialize(app, slot, leave:, rest:, oob_wanted:)
      @app = app
      @slot = slot
      @leave = leave
      @rest = rest
      @oob_wanted = oob_wanted
      @open_response = OpenResponse.new(slot)
    end

    # Called from another thread: nobody reads the response to this request any more.
    def client_gone(request) = @open_response.client_gone(request)

    # Returns at the end of the queue, after Slot#stop, and when the engine has gone.
    def run
      loop do
        while (env = @slot.receive)
          handle(env)
          return if @slot.broken?
        end
        return unless env == false

        @rest.call
      end
    end

    private

    def handle(env)
      status = headers = body = error = nil
      completed = false
      begin
        status, headers, body = @app.call(env)
        @slot.respond(status, headers, body) || Response.deliver(@slot, @open_response, env, status, headers, body)
        completed = true
      rescue Exception => e # rubocop:disable Lint/RescueException -- whatever it is, the client gets an answer
        error = e
        completed = true
        give_up(env, e)
      ensure
        # Otherwise the thread is being killed, or the application throws to nowhere.
        give_up(env, nil) unless completed
        close(env, body) if body.respond_to?(:close)
      end
      after_response(env, status, headers, error)
      @oob_wanted.call if @slot.oob_wanted?
    end

    def close(env, body)
      body.close
    rescue Exception => e # rubocop:disable Lint/RescueException
      log(env, e, "closing the body of a response")
      leave_after(e)
    end

    # Ends a response that can't be completed.
    def give_up(env, error)
      log(env, error, "the application") unless error.is_a?(Native::ClientGone) || error.is_a?(Native::Disconnected)
      answer(error)
      leave_after(error)
    end

    def answer(error)
      case @slot.answer
      when :pending
        if error
          @slot.write_failed(error.class.to_s, Exceptions.message(error), Exceptions.backtrace(error).join("\n"))
        else
          @slot.write_failed("ThreadError", "the thread was killed while it handled the request", "")
        end
      when :begun
        @slot.write_aborted
      end
    rescue Native::Disconnected
      # Nobody is left to be told.
    end

    def leave_after(error)
      @leave.call("the application raised #{error.class}") if FATAL.any? { |kind| error.is_a?(kind) }
    end

    def after_response(env, status, headers, error)
      finished = env["rack.response_finished"]
      finished&.reverse_each { |callback| guarded(env) { callback.call(env, status, headers, error) } }
      replied = env["rack.after_reply"]
      replied&.each { |callback| guarded(env) { callback.call } }
      tempfiles = env["rack.tempfiles"]
      tempfiles&.each { |file| guarded(env) { file.close! } }
    end

    def guarded(env)
      yield
    rescue Exception => e # rubocop:disable Lint/RescueException
      log(env, e, "a callback after a response")
      leave_after(e)
    end

    def log(env, error, what)
      error ||= ThreadError.new("the thread was killed while it handled the request")
      id = env["HTTP_X_REQUEST_ID"] || format("%x", @slot.request_id)
      Log.exception("*** #{error.class} in #{what}", error,
                    ["request #{id}: #{env["REQUEST_METHOD"]} #{env["PATH_INFO"]}",
                     "process #{Process.pid}, thread #{Thread.current.name || Thread.current.object_id}"])
    end
  end
end
