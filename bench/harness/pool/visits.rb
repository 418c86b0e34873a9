# frozen_string_literal: true

require "time"

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

      # How long a process took from the demand for it until it was ready, in seconds.
      def start_time(worker)
        began, ready = worker.values_at("started_at", "ready_at").map { |text| Time.iso8601(text) }
        ready - began
      end
    end
  end
end
