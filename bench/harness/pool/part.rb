# frozen_string_literal: true

module Bench
  module Pool
    # "met     …" or "MISSED  …", as all contests write it.
    Verdict = Struct.new(:met, :words) do
      def to_s
        "#{met ? 'met   ' : 'MISSED'}  #{words}"
      end
    end

    # Whatever comes is to reach the pool: with turbocaching, requests for the same URL wait for the first of them now and then, since its
    # response might be one for all.
    PASSENGER_OPTIONS = %w[--no-turbocaching].freeze

    # One of the things that the pool has to show: runs servers of its own and keeps what came of it. Descendants have TITLE, ABOUT, `run`,
    # `tables`, `verdicts`, `panels`.
    class Part
      # Memory varies little from one round to the next, and each takes several starts of an application.
      MEMORY_ROUNDS = 3

      attr_reader :commands

      def initialize(setup, session)
        @setup = setup
        @session = session
        @commands = {}
      end

      # As it is called on the command line.
      def self.part_name
        name[/\w+\z/].downcase
      end

      def name
        self.class.part_name
      end

      def title
        self.class::TITLE
      end

      # What is done, for readers of the page.
      def about
        self.class::ABOUT
      end

      private

      def say(line)
        @session.say(line)
      end

      # `label` is for the listing of commands.
      def start(definition, app, processes:, threads: 1, label: nil)
        setup = @setup.dup.tap do |own|
          own.processes = processes
          own.threads = threads
        end
        @session.start(definition, app, setup).tap { |server| @commands["#{name}: #{label || app.name}"] ||= server.public_command }
      end

      def prepared(app)
        @session.prepare(app, @setup.ruby)
        app
      end

      def memory_rounds
        [@setup.rounds, MEMORY_ROUNDS].min
      end

      def times(count, word)
        "#{count} #{word}#{'s' unless count == 1}"
      end

      def bar(label, values, text, ours:, note: nil)
        Plot::Bar.new(label: label, spread: Spread.of(values), text: text, note: note, ours: ours)
      end
    end
  end
end
