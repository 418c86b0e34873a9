# frozen_string_literal: true

module Bench
  module Pool
    PARTS = [Affinity, Restarts, Kills, Memory, Flood, Refork].freeze

    # All parts, or those that were chosen, one after the other, each with servers of its own. A part that can't be measured does not
    # keep the others from being run.
    class Contest
      attr_reader :parts, :faults

      def initialize(setup, progress)
        @setup = setup
        @progress = progress
        @parts = []
        @faults = []
        @loads = {}
      end

      def run
        chosen = PARTS.select { |part| @setup.only.nil? || @setup.only.include?(part.part_name) }
        chosen.each do |part|
          @loads[part.part_name] = load_average
          @progress.puts "", "# #{part::TITLE} (load average #{load_average})"
          @parts << Session.open(@progress) { |session| part.new(@setup, session).run }
        rescue Error => e
          @progress.puts "  !!! #{part.part_name}: #{e.message}"
          @faults << "ERROR: #{part.part_name}: #{e.message.lines.first.strip}"
        end
        self
      end

      def name
        "pool"
      end

      def title
        "The process pool"
      end

      def subtitle
        "What clients notice of slow requests, restarts, kills and floods, and what processes cost. Where rounds are compared, it is the " \
          "median with range; rounds of #{@setup.duration} s, in turn"
      end

      def tables
        @parts.map { |part| "### #{part.title}\n\n#{part.about}\n\n#{part.tables}" }.join("\n")
      end

      def verdicts
        @parts.flat_map { |part| part.verdicts.map { |verdict| "#{verdict} [#{part.name}]" } }
      end

      def commands
        @parts.map(&:commands).reduce({}, :merge)
      end

      def details
        "The goals, and whether this run met them:\n\n```\n#{verdicts.join("\n")}\n```\n\n" \
          "Load average of the machine at the start of each part (a part's own work is in the next one's): " \
          "#{@loads.map { |part, load| "#{part} #{load}" }.join('; ')}."
      end

      def plot
        panels = @parts.flat_map(&:panels)
        Plot.new(title: title, subtitle: "#{@setup.rounds} rounds of #{@setup.duration} s; median with range", panels: panels) if panels.any?
      end

      private

      def load_average
        File.read("/proc/loadavg").split.first(3).join(" ")
      end
    end
  end
end
