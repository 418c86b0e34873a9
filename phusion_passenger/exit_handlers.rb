# frozen_string_literal: true

module PhusionPassenger
  # Ruby's at_exit handlers are inherited by every fork and can't be taken back. Not all of them belong to the processes
  # that inherit them here.
  module ExitHandlers
    class << self
      # Handlers that were registered before this call don't run. They run in reverse order, so this one comes after all
      # that are registered from now on, and ends the process before those that belong to the parent (which remove its pid
      # file, for example).
      def leave_out_inherited
        at_exit do
          status = exit_status($!) # rubocop:disable Style/SpecialGlobalVars
          flush_files
          GC.start # finalizers, such as those that remove temporary files
          exit!(status)
        end
      end

      # What a worker registers from now on (in :starting_worker_process, in requests) is its own: should it become a
      # preloader, its workers would run such handlers once more, for things that they have not begun, and more of them
      # with every generation. Those that were registered while the application was loaded are every worker's.
      def mark_as_workers_own
        @stage ||= 0
        return if @marking

        @marking = true
        handlers = self
        original = Kernel.instance_method(:at_exit)
        marking = lambda do |receiver, block|
          next original.bind_call(receiver) unless block

          original.bind_call(receiver, &handlers.in_this_stage_only(block))
          block
        end
        quietly do
          Kernel.define_method(:at_exit) { |&block| marking.call(self, block) }
          Kernel.send(:private, :at_exit)
          Kernel.define_singleton_method(:at_exit) { |&block| marking.call(self, block) }
        end
      end

      # Called in the fork of a worker that is to be a preloader.
      def leave_out_workers_own
        @stage = @stage.to_i + 1
      end

      def in_this_stage_only(block)
        stage = @stage
        -> { block.call if @stage == stage }
      end

      private

      # Without the warning that a method is redefined.
      def quietly
        verbose = $VERBOSE
        $VERBOSE = nil
        yield
      ensure
        $VERBOSE = verbose
      end

      # As the process would have ended by itself; exit! leaves out that Ruby reports the error.
      def exit_status(error)
        case error
        when nil then 0
        when SystemExit then error.status
        when SignalException then 128 + error.signo
        else
          Log.exception("*** #{error.class} has ended the process", error)
          1
        end
      end

      # exit! leaves out what Ruby would do for files that were written to and not closed.
      def flush_files
        ObjectSpace.each_object(IO) do |io|
          io.flush unless io.closed?
        rescue IOError, SystemCallError
          next # not open for writing, or nobody reads any more
        end
      end
    end
  end
end
