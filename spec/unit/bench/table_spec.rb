# frozen_string_literal: true

require_relative "../../../bench/bench"

RSpec.describe Bench::Table do
  it "is Markdown, aligned for reading as plain text" do
    expect(described_class.new(["server", "requests/s"], [["Puma", "8,512"], ["passenger", 27_000]]).to_s).to eq <<~TABLE
      | server    | requests/s |
      | --------- | ---------: |
      | Puma      |      8,512 |
      | passenger |      27000 |
    TABLE
  end

  it "refuses rows that do not fit the header" do
    expect { described_class.new(%w[a b], [["only one"]]) }.to raise_error(ArgumentError, /a row of 1 cells in a table of 2/)
  end
end
