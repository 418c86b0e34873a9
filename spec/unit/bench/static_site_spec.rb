# frozen_string_literal: true

require_relative "../../../bench/bench"
require "tmpdir"

RSpec.describe Bench::Static::Site do
  around { |example| Dir.mktmpdir { |dir| (@dir = dir) && example.run } }

  let(:site) { described_class.new.tap { |site| site.prepare(@dir, nil) } }
  let(:stylesheet) { File.join(site.public_dir, described_class::STYLESHEET) }

  it "has a stylesheet that compresses as real ones do, and its twin of the same age" do
    twin = "#{stylesheet}.gz"

    expect(Zlib.gunzip(File.binread(twin))).to eq File.binread(stylesheet)
    expect(File.size(twin).to_f / File.size(stylesheet)).to be_between(0.1, 0.3)
    expect(File.mtime(twin)).to eq File.mtime(stylesheet)
  end

  it "has files that no server takes for being written just now" do
    ages = Dir.glob("#{site.public_dir}/**/*").select { |path| File.file?(path) }.map { |path| Time.now - File.mtime(path) }

    expect(ages.size).to eq 7
    expect(ages.min).to be > 3600
  end

  it "is the same in every run" do
    first = File.binread(stylesheet)
    site.prepare(@dir, nil)

    expect(File.binread(stylesheet)).to eq first
  end

  it "has the application serve the files only for the peers that ask it to" do
    expect(site.env).to eq({})
    expect(site.peer_env).to eq("RAILS_SERVE_STATIC_FILES" => "1")
    expect(File.read(site.startup_file)).to include 'unless ENV["RAILS_SERVE_STATIC_FILES"]'
  end
end

RSpec.describe Bench::Static::ManyFiles do
  it "tells the server how much it may keep" do
    expect(described_class.new(64).passenger_options).to eq %w[--static-cache-size 64]
  end
end
