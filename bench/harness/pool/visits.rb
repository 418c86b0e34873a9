# frozen_string_literal: true

module Bench
  module Pool
    # What the parts on memory have in common: pages of the example app that are asked for, and the memory afterwards.
    module Visits
      PAGES = %w[/ /posts /highlights /session/new /api/posts].freeze

      module_function

      # Twice as many clients of each kind of page as there are processes, so that every process works on every kind.
      def groups(processes)
        PAGES.map { |path| Group.new(name: path, connections: processes * 2, path: path) }
      end

      def pss_by_role(server)
        server.processes.each_with_object(Hash.new(0)) do |entry, roles|
          memory = ProcessTree.memory(entry.pid) or next
          role = server.definition.role(entry.title) or raise Error, "what is the process #{entry.title.inspect} for?"
          roles[role] += memory.pss
        end
      end

      # How long a process of the status took from the demand for it until it was ready, in seconds.
      def start_time(worker)
        worker.fetch("start_ms") / 1000.0
      end
    end
  end
end
