# frozen_string_literal: true

module Bench
  module Pool
    # From what the application says about its requests (process, beginning, end): how often a request came into a process that was
    # at work while another process had nothing to do.
    module Sharing
      # A process counts as idle when it has been so for this long before and after, in microseconds: the news of an answer and the next
      # request must travel, and a request that the process had been given already may not have got a processor yet.
      SETTLED = 5000

      # The requests of one process, in the order of their beginnings.
      class Timeline
        def initialize(runs)
          @runs = runs.sort_by { |_, began, ended| [began, ended] }
          # The latest end of all up to here: with threads the one that began last need not be the one that ends last.
          @ends = @runs.map(&:last).each_with_object([]) { |ended, all| all << [ended, all.last || 0].max }
        end

        # Whether a request that began before `finish` was at work after `start`.
        def busy?(start, finish)
          before = (@runs.bsearch_index { |_, began, _| began >= finish } || @runs.size) - 1
          before >= 0 && @ends[before] > start
        end
      end

      module_function

      # `processes`: how many there are. Those that never got a request have been idle all the time.
      def count(runs, processes:)
        timelines = runs.group_by(&:first).transform_values { |own| Timeline.new(own) }
        runs.count do |pid, began, _|
          timelines.fetch(pid).busy?(began, began) &&
            (timelines.size < processes || timelines.any? { |other, timeline| other != pid && !timeline.busy?(began - SETTLED, began + SETTLED) })
        end
      end
    end
  end
end
