# frozen_string_literal: true

module Bench
  # What one contest has shown, as tables (for the terminal and for Markdown) and as a plot.
  class Report
    COLUMNS = METRICS.values_at(:requests_per_second, :p50, :p99, :cpu_per_request, :rss, :pss).freeze
    PLOT_METRICS = %i[requests_per_second p99].freeze
    TREE_METRICS = %i[cpu_per_request pss].freeze

    # `labels`: names with versions by server key, in the order of the tables; `ours` is the key that peers are compared with.
    def initialize(contest, run, labels:, setup:, ours: :passenger)
      @contest = contest
      @run = run
      @results = run.results
      @connections = run.connections
      @labels = labels
      @setup = setup
      @ours = ours
    end

    def name
      @contest.name
    end

    def title
      @contest.title
    end

    def subtitle
      "#{@setup.processes} processes × #{@setup.threads} thread#{'s' if @setup.threads > 1} each, " \
        "#{@connections.join(' and ')} keep-alive connections, #{@setup.rounds} rounds of #{@setup.duration} s in turn; median with range"
    end

    def faults
      @results.faults
    end

    def commands
      @run.commands
    end

    def details
      "#{headers}\n\n#{Noise.words(@results.others)}\n\n#{rounds_table}"
    end

    def tables
      @connections.map do |connections|
        ratios = ratio_table(connections)
        "#### #{connections} connections\n\n#{value_table(connections)}#{"\n#{ratios}" if ratios}"
      end.join("\n")
    end

    def plot
      panels = @connections.flat_map { |connections| PLOT_METRICS.map { |key| panel(METRICS.fetch(key), connections) } } +
               TREE_METRICS.map { |key| panel(METRICS.fetch(key), @connections.first) }
      Plot.new(title: title, subtitle: subtitle, panels: panels)
    end

    # One line for every goal that this run was able to judge.
    def verdicts
      @contest.goals.filter_map do |goal|
        next unless compared?(goal.peer) && @connections.include?(goal.connections)

        ratio = @results.ratio(@ours, goal.peer, goal.connections, goal.metric) or next
        "#{goal.met?(ratio.median) ? 'met   ' : 'MISSED'}  #{METRICS.fetch(goal.metric).column} at #{goal.connections} connections: " \
          "#{Units.ratio(ratio.median)} #{@labels.fetch(goal.peer)} (goal #{goal})"
      end
    end

    private

    def headers
      lines = @run.headers.map { |server, names| "- #{@labels.fetch(server)}: #{names.join(', ')}" }
      "Response headers:\n\n#{lines.join("\n")}"
    end

    def rounds_table
      rows = @results.measurements.map do |m|
        [m.round, @labels.fetch(m.server), m.connections, *COLUMNS.map { |metric| metric.write(m[metric.key]) }, Units.percent(m.others)]
      end
      Table.new(["round", "server", "connections", *COLUMNS.map(&:column), "others"], rows, text: 2).to_s
    end

    def peers
      @labels.keys - [@ours]
    end

    def compared?(peer)
      @labels.key?(@ours) && peers.include?(peer)
    end

    def value_table(connections)
      rows = @labels.map do |server, label|
        measured = @results.of(server, connections)
        [label, *COLUMNS.map { |metric| metric.spread(@results.spread(server, connections, metric.key)) }, measured.sum(&:error_count)]
      end
      Table.new(["server", *COLUMNS.map(&:column), "errors"], rows).to_s
    end

    def ratio_table(connections)
      return if !@labels.key?(@ours) || peers.empty?

      rows = peers.map do |peer|
        ["ours ÷ #{@labels.fetch(peer)}", *COLUMNS.map { |metric| ratio_cell(metric, peer, connections) }]
      end
      Table.new(["ratio", *COLUMNS.map(&:column)], rows).to_s
    end

    def ratio_cell(metric, peer, connections)
      ratio = @results.ratio(@ours, peer, connections, metric.key) or return "–"
      goal = @contest.goal(metric.key, peer, connections)
      judged = goal ? ", goal #{goal} #{goal.met?(ratio.median) ? 'met' : 'MISSED'}" : ""
      Units.spread(ratio) { |value| Units.digits(value) } + judged
    end

    def panel(metric, connections)
      bars = @labels.map do |server, label|
        spread = @results.spread(server, connections, metric.key)
        Plot::Bar.new(label: label, spread: spread.map { |value| value * metric.scale }, text: metric.write(spread.median),
                      note: note(metric, server, connections), ours: server == @ours)
      end
      Plot::Panel.new(title: "#{metric.title}, #{connections} connections", axis: metric.axis, bars: bars)
    end

    def note(metric, server, connections)
      return unless compared?(server)

      ratio = @results.ratio(@ours, server, connections, metric.key)
      "ours #{Units.ratio(ratio.median)}" if ratio
    end
  end
end
