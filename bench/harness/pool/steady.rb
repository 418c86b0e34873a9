# frozen_string_literal: true

module Bench
  module Pool
    # A constant load of 32 keep-alive connections: most ask for something quick, some for something that lasts, so that at every
    # moment there are requests on their way.
    module Steady
      CONNECTIONS = 32
      LASTING = 8

      GROUPS = [
        Group.new(name: "quick", connections: CONNECTIONS - LASTING, path: "/compute?steps=2000"),
        Group.new(name: "lasting", connections: LASTING, path: "/wait?seconds=0.05")
      ].freeze

      COLUMNS = ["requests", "failed", "connections closed between requests", "longest"].freeze

      module_function

      def cells(outcomes)
        all = Outcome.sum(outcomes)
        [all.answered, all.failures_in_words, all.closed, Units.seconds(all.max)]
      end

      # When and how requests failed, for the progress.
      def tell(session, outcomes)
        outcomes.each do |name, outcome|
          outcome.told.each { |moment, kind| session.say "  !!! #{format('%.3f', moment)} s, #{name}: #{kind}" }
        end
      end
    end
  end
end
