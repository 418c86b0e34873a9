# frozen_string_literal: true

module Bench
  # How long `rails server` takes from its start to the first page of the example app in development, with one and the other
  # handler in turn. The first start of each is not counted: it fills the caches of the file system and of the app.
  class Boot
    # What Puma may be ahead at most, in seconds.
    GOAL = 0.5
    TITLE = "Start of rails server"

    attr_reader :times, :commands

    def initialize(definitions, setup, session)
      @definitions = definitions
      @setup = setup
      @session = session
      @app = Bulletin.new("development")
      @times = definitions.to_h { |definition| [definition.key, []] }
      @commands = {}
    end

    def run
      @session.prepare(@app, @setup.ruby)
      (0..@setup.rounds).each do |round|
        @definitions.rotate(round).each do |definition|
          taken = measure(definition)
          @session.say format("%<round>-9s %<label>-28s %<taken>s", round: round.zero? ? "first try" : "round #{round}",
                                                                    label: definition.label, taken: Units.seconds(taken))
          @times.fetch(definition.key) << taken unless round.zero?
        end
      end
      self
    end

    def name
      "boot"
    end

    def title
      TITLE
    end

    def subtitle
      "From the command to the end of the first page of the example app, development; #{@setup.rounds} starts each, in turn; median with range"
    end

    def faults
      []
    end

    def tables
      rows = @definitions.map { |definition| [definition.label, seconds(Spread.of(times.fetch(definition.key)))] }
      Table.new(["command", "seconds to the first page"], rows).to_s
    end

    def details
      rows = @definitions.map { |definition| [definition.label, *times.fetch(definition.key).map { |taken| format("%.2f", taken) }] }
      Table.new(["command", *(1..@setup.rounds).map { |round| "start #{round}" }], rows).to_s
    end

    # How much later than with Puma the first page came; nil when only one of them was measured.
    def delay
      ours, puma = times.values_at(:passenger, :puma)
      Spread.of(ours.zip(puma).map { |our, peer| our - peer }) if ours && puma
    end

    def verdicts
      return [] unless delay

      ["#{delay.median <= GOAL ? 'met   ' : 'MISSED'}  first page #{format('%+.2f', delay.median)} s against Puma's (goal ≤ +#{GOAL} s)"]
    end

    def plot
      bars = @definitions.map do |definition|
        spread = Spread.of(times.fetch(definition.key))
        Plot::Bar.new(label: definition.label, spread: spread, text: Units.seconds(spread.median), ours: definition.key == :passenger)
      end
      Plot.new(title: title, subtitle: subtitle,
               panels: [Plot::Panel.new(title: "From the command to the first page", axis: "seconds (shorter is better)", bars: bars)])
    end

    private

    def measure(definition)
      server = @session.server(definition, @app, @setup)
      @commands[definition.key] ||= server.public_command
      server.time_to_first_answer
    ensure
      @session.stop(server) if server
    end

    def seconds(spread)
      Units.spread(spread) { |value| format("%.2f", value) }
    end
  end
end
