# frozen_string_literal: true

module Bench
  # Numbers as people read them: three significant digits and a unit that fits.
  module Units
    MEBIBYTE = 1024.0 * 1024

    module_function

    def count(number)
      return format("%.1f", number) if number.abs < 100

      number.round.to_s.reverse.scan(/\d{1,3}/).join(",").reverse
    end

    def seconds(value)
      case value
      when 0 then "0 s"
      when 0...0.001 then "#{digits(value * 1_000_000)} µs"
      when 0.001...1 then "#{digits(value * 1000)} ms"
      else "#{digits(value)} s"
      end
    end

    def bytes(value)
      "#{digits(value / MEBIBYTE)} MB"
    end

    def ratio(value)
      "#{digits(value)} ×"
    end

    def percent(fraction)
      "#{(fraction * 100).round} %"
    end

    def digits(value)
      if value.abs >= 100 then value.round.to_s
      elsif value.abs >= 10 then format("%.1f", value)
      else format("%.2f", value)
      end
    end

    # "12 (10–15)"
    def spread(spread)
      "#{yield spread.median} (#{yield spread.min}–#{yield spread.max})"
    end
  end
end
