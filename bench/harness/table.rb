# frozen_string_literal: true

module Bench
  # A Markdown table whose columns are also aligned for eyes on a terminal: the first `text` columns to the left, numbers to the
  # right.
  class Table
    def initialize(header, rows, text: 1)
      uneven = rows.find { |row| row.size != header.size }
      raise ArgumentError, "a row of #{uneven.size} cells in a table of #{header.size} columns: #{uneven.inspect}" if uneven

      @header = header
      @text = text
      @rows = rows.map { |row| row.map(&:to_s) }
    end

    def to_s
      widths = [@header, *@rows].transpose.map { |cells| [cells.map(&:length).max, 3].max }
      rule = widths.each_with_index.map { |width, column| text?(column) ? "-" * width : "#{'-' * (width - 1)}:" }
      ([@header, rule] + @rows).map { |cells| line(cells, widths) }.join
    end

    private

    def text?(column)
      column < @text
    end

    def line(cells, widths)
      padded = cells.zip(widths).each_with_index.map { |(cell, width), column| text?(column) ? cell.ljust(width) : cell.rjust(width) }
      "| #{padded.join(' | ')} |\n"
    end
  end
end
