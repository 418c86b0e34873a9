# frozen_string_literal: true

module PhusionPassenger
  # Tells the body of a response that nobody reads it any more, while it is being iterated in another thread. Only what is
  # made for being called from there is called: closing a body is for whoever iterates it.
  module Farewell
    class << self
      def tell(env, body)
        buffer = live_buffer(env)
        leave(buffer) if buffer
        body.abort if body.respond_to?(:abort)
      end

      private

      # What an action of ActionController::Live writes to, in a thread of its own.
      def live_buffer(env)
        controller = env["action_controller.instance"]
        response = controller.response if controller.respond_to?(:response)
        buffer = response.stream if response.respond_to?(:stream)
        buffer if buffer.respond_to?(:abort) && buffer.respond_to?(:connected?)
      end

      # The action learns it (connected?, ClientDisconnected at its next write). Its queue, which the server's thread
      # waits at, gets what Rails' own close puts there for that thread; the buffer itself must not be closed, for then
      # the action would get an IOError instead. A queue that is full by now needs nothing: the thread is awake.
      def leave(buffer)
        buffer.abort
        queue = buffer.instance_variable_get(:@buf)
        queue.push(nil, *(true if queue.is_a?(Thread::SizedQueue))) if queue.is_a?(Thread::Queue)
      rescue ThreadError
        nil
      end
    end
  end
end
