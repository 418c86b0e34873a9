# frozen_string_literal: true

require_relative "worker"

module PhusionPassenger
  # What the engine's message `spawn` asks for.
  class SpawnOrder
    # The engine's number of the worker
    attr_reader :worker

    def initialize(message)
      @message = message
      @worker = message.fetch("worker")
      @slots = message.fetch("slots").split(",").map { |slot| Integer(slot, 10) }
      @place = Integer(message.fetch("place"), 10)
      @control, *@streams = message.fds
      @direct_queue = @streams.pop if message.fields["direct_queue"] == "1"
      return if @control && @streams.size == @slots.size

      raise Native::ProtocolError, "spawn of worker #{@worker}: #{message.fds.size} descriptors came for #{@slots.size} slots"
    end

    # app: LoadedApp; forked: whether the process was forked off a preloader
    def to_worker(app, forked:)
      Worker.new(app.rack_app, app.settings, control: Control.new(@control), queue: app.queue, scoreboard: app.scoreboard,
                                             streams: @streams, slots: @slots, place: @place, facts: app.facts, forked: forked,
                                             direct_queue: @direct_queue)
    end

    # The descriptors are another process' now.
    def close
      @message.fds.each { |fd| Native.close_fd(fd) }
    end
  end
end
