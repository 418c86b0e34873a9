# frozen_string_literal: true

require_relative "../../../bench/bench"
require "cgi"

RSpec.describe Bench::Plot do
  def bar(label, median, range, **rest)
    Bench::Plot::Bar.new(label: label, spread: Bench::Spread.new(median, *range), text: median.to_s, **rest)
  end

  let(:panel) do
    Bench::Plot::Panel.new(title: "Requests & more", axis: "requests/s", bars: [
                             bar("ours <7>", 27_000, [25_000, 28_000], ours: true), bar("Puma", 9000, [8000, 9500], note: "ours 3.00 ×")
                           ])
  end
  let(:plot) { described_class.new(title: "Hello", subtitle: "2 × 1", panels: [panel]) }
  # Elements as [name, attributes, text]; raises where a tag is not closed by its own, or a character is not escaped. (A small
  # reader, so that the specs need no XML library in the bundle.)
  def elements(svg)
    open = []
    svg.scan(/<([^>]*)>([^<]*)/).filter_map do |tag, text|
      raise "a bare & in #{text.inspect}" if text.gsub(/&(amp|lt|gt|quot|#39);/, "").include?("&")

      if tag.start_with?("/")
        raise "<#{tag}> closes #{open.last.inspect}" unless open.pop == tag.delete_prefix("/")
        raise "something stands behind the root" if open.empty? && !text.strip.empty?

        next
      end
      open << tag[/\A\w+/] unless tag.end_with?("/")
      [tag[/\A\w+/], tag.scan(/([\w-]+)="([^"]*)"/).to_h, CGI.unescapeHTML(text)]
    end.tap { raise "not closed: #{open.join(', ')}" unless open.empty? }
  end

  let(:drawn) { elements(plot.to_svg) }

  def texts
    drawn.select { |name, *| name == "text" }.map(&:last)
  end

  def bars
    drawn.select { |name, attributes, _| name == "rect" && attributes.key?("rx") }.map { |_, attributes, _| attributes }
  end

  it "is well-formed, with labels escaped" do
    expect(texts).to include("Requests & more", "ours <7>", "Puma", "requests/s")
  end

  it "draws bars whose lengths are in proportion to the medians" do
    ours, puma = bars.map { |element| element["width"].to_f }

    expect(ours / puma).to be_within(0.01).of(3.0)
  end

  it "marks our own bar by colour and the peers' by how they compare" do
    expect(bars.map { |element| element["fill"] }).to eq [described_class::OURS, described_class::PEER]
    expect(plot.to_svg).to include("ours 3.00 ×")
  end

  it "keeps everything inside the picture" do
    width, height = drawn.first[1].fetch("viewBox").split.last(2).map(&:to_f)
    drawn.select { |name, *| name == "text" }.each do |_, attributes, _|
      expect(attributes.fetch("x").to_f).to be_between(0, width)
      expect(attributes.fetch("y").to_f).to be_between(0, height)
    end
  end

  it "puts panels in two columns" do
    four = described_class.new(title: "t", subtitle: "s", panels: [panel] * 4).to_svg
    two = described_class.new(title: "t", subtitle: "s", panels: [panel] * 2).to_svg
    size = ->(text) { text[/viewBox="0 0 (\d+) (\d+)"/] && [$1.to_i, $2.to_i] }

    expect(size[four][0]).to eq size[two][0]
    expect(size[four][1]).to be > size[two][1]
  end

  describe ".ticks" do
    it "reaches over the largest value in about four round steps" do
      { 27_000 => [0, 10_000, 20_000, 30_000], 3.2 => [0, 1, 2, 3, 4], 0.9 => [0, 0.5, 1], 100 => [0, 50, 100], 80 => [0, 20, 40, 60, 80] }
        .each { |max, ticks| expect(described_class.ticks(max)).to eq(ticks), "for #{max}: #{described_class.ticks(max)}" }
    end

    it "has an axis even when everything is zero" do
      expect(described_class.ticks(0)).to eq [0, 1]
    end
  end
end
