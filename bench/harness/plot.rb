# frozen_string_literal: true

require "cgi"

module Bench
  # Horizontal bars in a grid of panels, as SVG. A bar is a median with its range; what stands behind it is its value and, for
  # peers, how it compares. Every panel starts at zero, so that lengths can be compared by eye.
  class Plot
    Bar = Struct.new(:label, :spread, :text, :note, :ours, keyword_init: true)
    Panel = Struct.new(:title, :axis, :bars, keyword_init: true)

    COLUMNS = 2
    MARGIN = 24
    PANEL_WIDTH = 540
    GAP = 32
    LABEL_WIDTH = 178
    # Room behind the longest bar for its value and note.
    TEXT_WIDTH = 138
    BAR = 20
    STEP = 38
    HEADING = 62
    PANEL_HEADING = 34
    AXIS = 46
    FONT = "font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\""
    INK = "#1f2430"
    FAINT = "#667085"
    GRID = "#e4e7ec"
    OURS = "#c2410c"
    PEER = "#98a2b3"

    # About four round steps (1, 2 or 5 times a power of ten) that reach at least to `max`.
    def self.ticks(max)
      return [0, 1] unless max.positive?

      rough = max / 4.0
      power = 10.0**Math.log10(rough).floor
      step = [1, 2, 5, 10].map { |factor| factor * power }.find { |candidate| candidate >= rough - (power * 1e-9) }
      (0..(max / step - 1e-9).ceil).map { |index| (index * step).round(12) }
    end

    def initialize(title:, subtitle:, panels:)
      @title = title
      @subtitle = subtitle
      @panels = panels
    end

    def to_svg
      rows = @panels.each_slice(COLUMNS).to_a
      top = HEADING
      body = rows.flat_map do |row|
        drawn = row.each_with_index.map { |panel, column| draw(panel, MARGIN + (column * (PANEL_WIDTH + GAP)), top) }
        top += row.map { |panel| height(panel) }.max
        drawn
      end
      document(body, rows.map(&:size).max, top + 8)
    end

    private

    def document(body, columns, height)
      width = (2 * MARGIN) + (columns * PANEL_WIDTH) + ((columns - 1) * GAP)
      <<~SVG
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 #{width} #{height}" width="#{width}" height="#{height}" role="img" #{FONT}>
        <title>#{escape("#{@title}: #{@subtitle}")}</title>
        <rect width="#{width}" height="#{height}" fill="#ffffff"/>
        #{text(MARGIN, 30, @title, size: 19, weight: 600)}
        #{text(MARGIN, 51, @subtitle, size: 12.5, fill: FAINT)}
        #{body.join("\n")}
        </svg>
      SVG
    end

    def height(panel)
      PANEL_HEADING + (panel.bars.size * STEP) + AXIS
    end

    def draw(panel, left, top)
      ticks = self.class.ticks(panel.bars.map { |bar| bar.spread.max }.max)
      origin = left + LABEL_WIDTH
      scale = (PANEL_WIDTH - LABEL_WIDTH - TEXT_WIDTH) / ticks.last.to_f
      first = top + PANEL_HEADING
      bottom = first + (panel.bars.size * STEP)
      [text(left, top + 20, panel.title, size: 14, weight: 600), axis(panel, ticks, origin, scale, first, bottom),
       panel.bars.each_with_index.map { |bar, index| draw_bar(bar, left, origin, scale, first + (index * STEP)) }].flatten.join("\n")
    end

    def axis(panel, ticks, origin, scale, first, bottom)
      lines = ticks.map do |tick|
        at = (origin + (tick * scale)).round(1)
        %(<line x1="#{at}" y1="#{first}" x2="#{at}" y2="#{bottom}" stroke="#{tick.zero? ? FAINT : GRID}"/>) +
          text(at, bottom + 15, tick_label(tick), size: 11, fill: FAINT, anchor: "middle")
      end
      middle = origin + (ticks.last * scale / 2)
      lines << text(middle, bottom + 32, panel.axis, size: 11.5, fill: FAINT, anchor: "middle")
    end

    def tick_label(tick)
      tick >= 1000 ? Units.count(tick) : format("%g", tick)
    end

    def draw_bar(bar, left, origin, scale, top)
      y = top + ((STEP - BAR) / 2)
      length = (bar.spread.median * scale).round(1)
      behind = (origin + (bar.spread.max * scale) + 8).round(1)
      middle = y + (BAR / 2)
      [text(left, middle + 4.5, bar.label, size: 12.5, weight: bar.ours ? 600 : 400),
       %(<rect x="#{origin}" y="#{y}" width="#{length}" height="#{BAR}" rx="2" fill="#{bar.ours ? OURS : PEER}"/>),
       whisker(origin + (bar.spread.min * scale), origin + (bar.spread.max * scale), middle),
       text(behind, middle + 4.5, bar.text, size: 12.5, weight: 600, tail: bar.note)]
    end

    def whisker(from, to, at)
      return "" if from == to # A single value has no range.

      from = from.round(1)
      to = to.round(1)
      %(<path d="M#{from} #{at - 4}V#{at + 4}M#{from} #{at}H#{to}M#{to} #{at - 4}V#{at + 4}" stroke="#{INK}" fill="none"/>)
    end

    def text(at_x, at_y, words, size:, weight: 400, fill: INK, anchor: "start", tail: nil)
      tail &&= %(<tspan dx="7" font-weight="400" fill="#{FAINT}">#{escape(tail)}</tspan>)
      %(<text x="#{at_x}" y="#{at_y}" font-size="#{size}" font-weight="#{weight}" fill="#{fill}" text-anchor="#{anchor}">#{escape(words)}#{tail}</text>)
    end

    def escape(words)
      CGI.escapeHTML(words)
    end
  end
end
