# frozen_string_literal: true

module Bench
  module Cable
    PARTS = [Held, Quiet, Adapters].freeze

    # All parts, as one page.
    class Contest
      TITLE = "Action Cable and WebSockets"

      attr_reader :parts

      def initialize(definitions, setup, session, labels)
        @definitions = definitions
        @setup = setup
        @session = session
        @labels = labels
      end

      def run
        # All processes that are started from here may have as many descriptors as there may be.
        Process.setrlimit(:NOFILE, Process.getrlimit(:NOFILE).last)
        program = Client.build(@session.dir)
        chosen = PARTS.select { |part| @setup.only.nil? || @setup.only.include?(part.part_name) }
        @parts = chosen.map { |part| part.new(@definitions, @setup, @session, program, @labels).run }
        self
      end

      def name
        "cable"
      end

      def title
        TITLE
      end

      def subtitle
        "#{@setup.rounds} rounds in turn; median with range"
      end

      def tables
        @parts.map { |part| "### #{part.title}\n\n#{part.introduction}\n\n#{part.tables}" }.join("\n")
      end

      def details
        @parts.map { |part| "### #{part.title}\n\n#{part.details}" }.join("\n\n")
      end

      def verdicts
        @parts.flat_map(&:verdicts)
      end

      def faults
        @parts.flat_map(&:faults)
      end

      # Those of the first part; the others differ in numbers and applications.
      def commands
        @parts.reverse.map(&:commands).reduce(:merge)
      end

      def plot
        Plot.new(title: title, subtitle: subtitle, panels: @parts.flat_map(&:panels))
      end
    end
  end
end
