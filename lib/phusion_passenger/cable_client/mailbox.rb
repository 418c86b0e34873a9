# frozen_string_literal: true

module PhusionPassenger
  class CableClient
    # What one channel has for its subscribers in this process. It is handed out in the order in which it has come: the tasks
    # of Action Cable's event loop run in several threads, so no second one is begun for a channel before the first is done.
    class Mailbox
      # How many are handed out in a row, before other channels have their turn
      BATCH = 100

      # What waits in all the mailboxes of a process.
      class Backlog
        LIMIT = 8 * 1024 * 1024

        def initialize
          @lock = Mutex.new
          @less = ConditionVariable.new
          @bytes = 0
          @ended = false
        end

        # Waits while there is too much: then the broker keeps what comes, and after a while gives this process up.
        def add(bytes)
          return if bytes.zero?

          @lock.synchronize do
            @less.wait(@lock) while @bytes > LIMIT && !@ended
            @bytes += bytes
          end
        end

        def remove(bytes)
          @lock.synchronize do
            @bytes -= bytes
            @less.broadcast if @bytes <= LIMIT
          end
        end

        # Nobody waits any more.
        def end
          @lock.synchronize do
            @ended = true
            @less.broadcast
          end
        end
      end

      # run: a Proc that has a block called in another thread; deliver: a Proc that gets each message
      def initialize(backlog, run, deliver)
        @backlog = backlog
        @run = run
        @deliver = deliver
        @lock = Mutex.new
        @queue = []
        @busy = false
      end

      # item: a message, or a Proc to be called when those before it are delivered
      def push(item)
        @backlog.add(size(item))
        idle = @lock.synchronize do
          @queue << item
          !@busy && (@busy = true)
        end
        start if idle
      end

      private

      def start
        @run.call(-> { work })
      rescue StandardError
        # There are no threads to do it any more: the process is about to end.
        dropped = @lock.synchronize do
          @busy = false
          @queue.slice!(0..)
        end
        @backlog.remove(dropped.sum { |item| size(item) })
        raise
      end

      def work
        batch = @lock.synchronize { @queue.shift(BATCH) }
        begin
          batch.each { |item| item.is_a?(Proc) ? item.call : @deliver.call(item) }
        ensure
          @backlog.remove(batch.sum { |item| size(item) })
          start if @lock.synchronize { @busy = @queue.any? }
        end
      end

      def size(item) = item.is_a?(Proc) ? 0 : item.bytesize
    end
  end
end
