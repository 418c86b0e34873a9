# frozen_string_literal: true

module Bench
  module Static
    # What the cases have shown, side by side: a row per case, a column per server, and the ratios behind them.
    class Report
      TITLE = "Static files"
      DETAILS = %i[p50 p99 cpu_per_request pss].freeze

      # `labels`: names with versions by server key, in the order of the tables.
      def initialize(run, labels:, setup:, ours: :passenger)
        @run = run
        @labels = labels
        @setup = setup
        @ours = ours
      end

      def name
        "static"
      end

      def title
        TITLE
      end

      def subtitle
        "#{@setup.processes} processes × #{@setup.threads} thread#{'s' if @setup.threads > 1} each, #{@run.connections} keep-alive " \
          "connections, #{@setup.rounds} rounds of #{@setup.duration} s in turn; median with range"
      end

      def commands
        @run.commands
      end

      # A case in which the servers sent different bytes is no comparison.
      def faults
        @run.unequal + @run.results.flat_map { |kase, results| results.faults.map { |fault| "#{kase.name}: #{fault}" } }
      end

      def tables
        parts = ["#### Requests, or bytes, per second\n\n#{main_table}"]
        parts += DETAILS.map { |key| "#### #{METRICS.fetch(key).title}\n\n#{metric_table(METRICS.fetch(key))}" }
        parts.join("\n")
      end

      def details
        [answers, headers, noise, rounds_table, application, configuration].compact.join("\n\n")
      end

      def plot
        panels = @run.cases.flat_map { |kase| [panel(kase, kase.metric), panel(kase, METRICS.fetch(:cpu_per_request))] }
        Plot.new(title: title, subtitle: subtitle, panels: panels)
      end

      # One line for every goal that this run was able to judge.
      def verdicts
        @run.cases.flat_map do |kase|
          kase.goals.filter_map do |goal|
            ratio = ratio(kase, goal.peer, kase.metric) or next
            "#{goal.met?(ratio.median) ? 'met   ' : 'MISSED'}  #{kase.name}, #{kase.metric.column}: " \
              "#{Units.ratio(ratio.median)} #{@labels.fetch(goal.peer)} (goal #{goal}#{", aim #{goal.aim}" if goal.aim})"
          end
        end
      end

      private

      def peers
        @labels.keys - [@ours]
      end

      def compared
        @labels.key?(@ours) ? peers : []
      end

      # nil when one of the two did not take part, or the peer measured zero throughout.
      def ratio(kase, peer, metric)
        @run.results.fetch(kase).ratio(@ours, peer, @run.connections, metric.key) if compared.include?(peer)
      end

      def spread(kase, server, metric)
        @run.results.fetch(kase).spread(server, @run.connections, metric.key)
      end

      def main_table
        rows = @run.cases.map do |kase|
          [kase.title, kase.metric.column, *values(kase, kase.metric), *compared.map { |peer| judged_ratio(kase, peer) }, errors(kase)]
        end
        Table.new(["case", "measure", *@labels.values, *ratio_columns, "errors"], rows, text: 2).to_s
      end

      def metric_table(metric)
        rows = @run.cases.map { |kase| [kase.title, *values(kase, metric), *compared.map { |peer| ratio_cell(ratio(kase, peer, metric)) }] }
        Table.new(["case", *@labels.values, *ratio_columns], rows).to_s
      end

      def ratio_columns
        compared.map { |peer| "ours ÷ #{@labels.fetch(peer)}" }
      end

      def values(kase, metric)
        @labels.keys.map { |server| metric.spread(spread(kase, server, metric)) }
      end

      def errors(kase)
        @run.results.fetch(kase).measurements.sum(&:error_count)
      end

      def judged_ratio(kase, peer)
        ratio = ratio(kase, peer, kase.metric)
        goal = kase.goal(peer)
        judged = ratio && goal ? ", goal #{goal} #{goal.met?(ratio.median) ? 'met' : 'MISSED'}" : ""
        ratio_cell(ratio) + judged
      end

      # CPU time is read in ticks: a server may have used none of it.
      def ratio_cell(ratio)
        ratio ? Units.spread(ratio) { |value| Units.digits(value) } : "–"
      end

      def answers
        rows = @run.cases.map do |kase|
          answer = @run.answers.fetch(kase)
          [kase.name, kase.title, "`#{kase.path}`", answer.status, answer.encoding || "none", answer.length]
        end
        "What every server was asked for and had to send, to the byte:\n\n" +
          Table.new(["case", "what", "path", "status", "Content-Encoding", "bytes"], rows, text: 3).to_s.strip
      end

      def headers
        lines = @run.headers.map { |server, names| "- #{@labels.fetch(server)}: #{names.join(', ')}" }
        "Response headers of the text of 1 KB:\n\n#{lines.join("\n")}"
      end

      def noise
        all = @run.results.values.flat_map(&:measurements)
        all.empty? ? nil : Noise.words(Spread.of(all.map(&:others)))
      end

      def rounds_table
        metrics = [METRICS.fetch(:requests_per_second), METRICS.fetch(:bytes_per_second), *DETAILS.map { |key| METRICS.fetch(key) }]
        rows = @run.results.flat_map do |kase, results|
          results.measurements.map do |m|
            [kase.name, m.round, @labels.fetch(m.server), *metrics.map { |metric| metric.write(m[metric.key]) }, Units.percent(m.others)]
          end
        end
        Table.new(["case", "round", "server", *metrics.map(&:column), "others"], rows, text: 3).to_s.strip
      end

      def application
        "The application. Puma had RAILS_SERVE_STATIC_FILES=1 in its environment:\n\n```ruby\n#{Site::RACKUP.strip}\n```"
      end

      def configuration
        text = @run.nginx_configuration
        "nginx was configured with:\n\n```nginx\n#{text.strip}\n```" if text
      end

      def panel(kase, metric)
        bars = @labels.map do |server, label|
          spread = spread(kase, server, metric)
          compared = ratio(kase, server, metric)
          Plot::Bar.new(label: label, spread: spread.map { |value| value * metric.scale }, text: metric.write(spread.median),
                        note: compared && "ours #{Units.ratio(compared.median)}", ours: server == @ours)
        end
        Plot::Panel.new(title: "#{kase.title}: #{metric.column}", axis: metric.axis, bars: bars)
      end
    end
  end
end
