# frozen_string_literal: true

module PhusionPassenger
  # The response that a slot is sending piece by piece, as those see it who hear that its client has gone: that is not the
  # slot's thread, which may be anywhere in the application.
  class OpenResponse
    def initialize(slot)
      @slot = slot
      @lock = Mutex.new
      @request = nil # id of it; nil: no response is open
      @gone = nil
    end

    # Sends a response within the block. gone is called, once, in a thread of its own, should its client go away meanwhile.
    def watch(gone)
      @lock.synchronize do
        @request = @slot.request_id
        @gone = gone
      end
      yield
    ensure
      @lock.synchronize { @request = @gone = nil }
    end

    # Called from the control thread, which must not wait for what the application does.
    def client_gone(request)
      gone = @lock.synchronize do
        next unless @request == request

        @gone.tap { @gone = nil }
      end
      Thread.new { tell(gone) } if gone
    end

    private

    def tell(gone)
      Thread.current.name = "passenger client gone"
      Thread.current.report_on_exception = false
      gone.call
    rescue Exception => e # rubocop:disable Lint/RescueException
      Log.exception("telling the application that a client has gone failed", e)
    end
  end
end
