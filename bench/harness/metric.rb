# frozen_string_literal: true

module Bench
  # A measured quantity: its name in full and at the head of a column, how it is written in text, and for plots the words at
  # the axis and the factor from the stored unit (seconds, bytes) to the axis's.
  Metric = Struct.new(:key, :title, :column, :format, :axis, :scale, keyword_init: true) do
    def write(value)
      format.call(value)
    end

    def spread(spread)
      Units.spread(spread) { |value| write(value) }
    end
  end

  METRICS = [
    Metric.new(key: :requests_per_second, title: "Requests per second", column: "requests/s", format: Units.method(:count),
               axis: "requests/s (longer is better)", scale: 1),
    Metric.new(key: :bytes_per_second, title: "Bytes per second", column: "bytes/s", format: ->(value) { "#{Units.bytes(value)}/s" },
               axis: "MB/s (longer is better)", scale: 1 / Units::MEBIBYTE),
    Metric.new(key: :p50, title: "Median latency (p50)", column: "p50", format: Units.method(:seconds),
               axis: "milliseconds (shorter is better)", scale: 1e3),
    Metric.new(key: :p99, title: "Latency, 99th percentile (p99)", column: "p99", format: Units.method(:seconds),
               axis: "milliseconds (shorter is better)", scale: 1e3),
    Metric.new(key: :cpu_per_request, title: "CPU time per request", column: "CPU per request", format: Units.method(:seconds),
               axis: "microseconds, all processes of the server (shorter is better)", scale: 1e6),
    Metric.new(key: :rss, title: "Resident memory (RSS)", column: "RSS", format: Units.method(:bytes),
               axis: "MB, all processes of the server (shorter is better)", scale: 1 / Units::MEBIBYTE),
    Metric.new(key: :pss, title: "Proportional memory (PSS)", column: "PSS", format: Units.method(:bytes),
               axis: "MB, all processes of the server (shorter is better)", scale: 1 / Units::MEBIBYTE)
  ].to_h { |metric| [metric.key, metric] }.freeze
end
