# frozen_string_literal: true

require_relative "../../../lib/phusion_passenger/options"

RSpec.describe PhusionPassenger::Options do
  let(:table) { described_class::TABLE }

  it "names every option, switch and environment variable once" do
    names = table.map(&:name)
    switches = table.flat_map { |option| [option.short, *option.long, *option.off] }.compact
    variables = table.flat_map(&:env)

    expect([names, switches, variables]).to eq([names.uniq, switches.uniq, variables.uniq])
  end

  it "describes every option in one line that does not end like a sentence" do
    expect(table.map(&:help)).to all(match(/\A[A-Z].*[^.\n]\z/))
  end

  it "gives every option a type that can be read and, if it takes a value, a word for the value" do
    table.each do |option|
      raw = { integer: "1", seconds: "1", megabytes: "1", bytes: "1", boolean: "true" }.fetch(option.type) { option.words&.first || "x" }
      expect { option.parse(raw, place: "here", base: "/base") }.not_to raise_error
      expect(option.metavar).to be_nil.or match(/\A[A-Z]+\z/)
      expect(option.metavar.nil?).to eq(option.boolean?)
    end
  end

  it "has the documented defaults of Passenger" do
    expected = {
      address: "0.0.0.0", port: 3000, max_pool_size: 6, min_instances: 1, thread_count: 1, start_timeout: 90,
      max_request_queue_size: 100, max_preloader_idle_time: 300, shutdown_timeout: 30,
      page_caching: true, spawn_method: "smart", pool_idle_time: 300, max_requests: 0, memory_limit: 0, max_request_time: 0,
      force_max_concurrent_requests_per_process: -1, rolling_restarts: false, sticky_sessions: false,
      sticky_sessions_cookie_name: "_passenger_route"
    }
    expect(table.to_h { |option| [option.name, option.default] }).to include(expected)
  end

  it "keeps numeric defaults inside the permitted range" do
    table.select(&:range).each { |option| expect(option.range).to cover(option.default) }
  end

  describe "the environment's default" do
    {
      "the first variable that is set" => [{ "RAILS_ENV" => "staging", "RACK_ENV" => "production" }, "staging"],
      "the next variable when one is empty" => [{ "RAILS_ENV" => "", "RACK_ENV" => "production" }, "production"],
      "PASSENGER_APP_ENV last" => [{ "PASSENGER_APP_ENV" => "test" }, "test"],
      "development when no variable is set" => [{}, "development"]
    }.each do |sentence, (env, expected)|
      it("is #{sentence}") { expect(described_class.environment_from(env)).to eq(expected) }
    end
  end

  it "suggests the option that was probably meant, and nothing for nonsense" do
    expect(described_class.suggestion("--prot", %w[--port --address])).to eq("; did you mean --port?")
    expect(described_class.suggestion("--zzzzzz", %w[--port --address])).to eq("")
  end

  it "is what docs/options.md was made from" do
    require_relative "../../../rakelib/options_document"
    expect(File.read(OptionsDocument::PATH)).to eq(OptionsDocument.text), "docs/options.md is out of date: run `rake docs`"
  end

  describe "reading a value" do
    def parse(name, raw) = described_class[name].parse(raw, place: "--it", base: "/base")

    it "takes numbers as text and as numbers" do
      expect([parse(:port, "80"), parse(:port, 80)]).to eq([80, 80])
    end

    it "does not take octal, signs of other bases or fractions for numbers" do
      expect(parse(:port, "010")).to eq(10)
      %w[0x10 1.5 1e3 ten].each { |raw| expect { parse(:port, raw) }.to raise_error(PhusionPassenger::OptionError) }
    end

    it "knows every word for true and false, in any case" do
      expect(%w[true yes on 1 TRUE On].map { |raw| parse(:friendly_error_pages, raw) }).to all(be(true))
      expect(%w[false no off 0 False].map { |raw| parse(:friendly_error_pages, raw) }).to all(be(false))
    end

    it "makes paths absolute from the directory they were written in" do
      expect([parse(:log_file, "a/b.log"), parse(:log_file, "/a.log")]).to eq(%w[/base/a/b.log /a.log])
    end

    it "splits directories at colons and makes them absolute, and other lists at white space" do
      expect(parse(:sendfile_dirs, "files:/srv/with blank::")).to eq(["/base/files", "/srv/with blank"])
      expect(parse(:asset_patterns, " ^/a:b$\t^/c$\n")).to eq(["^/a:b$", "^/c$"])
    end

    it "leaves the elements of a list as they are that come one by one" do
      expect(parse(:sendfile_dirs, ["a:b", "/c d"])).to eq(["/base/a:b", "/c d"])
      expect(parse(:asset_patterns, ["^/a b$"])).to eq(["^/a b$"])
      expect(parse(:sendfile_dirs, [])).to eq([])
    end

    {
      "an empty list" => [:sendfile_dirs, "", "--it needs a value"],
      "an empty element of a list" => [:asset_patterns, ["a", ""], "--it needs a value"],
      "a size that is none" => [:static_cache_size, "64M", "--it must be a whole number of megabytes from 0 to 1048576, not \"64M\""],
      "a negative size" => [:compression_min_size, "-1", "--it must be a whole number of bytes from 0 to 1073741824, not -1"],
      "a level that does not exist" => [:gzip_level, "10", "--it must be a whole number from 1 to 9, not 10"],
      "a word for a number" => [:port, "http", "--it must be a whole number from 1 to 65535, not \"http\""],
      "a number that is too large" => [:port, "70000", "--it must be a whole number from 1 to 65535, not 70000"],
      "a number that is too small" => [:min_instances, "-1", "--it must be a whole number from 0 to 1024, not -1"],
      "a size of the pool that is no number" => [:max_pool_size, "some", "--it must be auto or a whole number from 1 to 1024, not \"some\""],
      "a size of the pool that is too small" => [:max_pool_size, "0", "--it must be auto or a whole number from 1 to 1024, not 0"],
      "a word that is none of the permitted ones" => [:spawn_method, "fork", "--it must be smart or direct, not \"fork\""],
      "a word for seconds" => [:start_timeout, "1m", "--it must be a whole number of seconds from 1 to 1000000, not \"1m\""],
      "a strange truth" => [:friendly_error_pages, "maybe",
                            "--it must be true or false (or yes, no, on, off, 1, 0), not \"maybe\""],
      "an empty text" => [:address, "", "--it needs a value"],
      "a text with a NUL byte" => [:log_file, "a\0b", "--it can't contain a NUL byte"]
    }.each do |sentence, (name, raw, message)|
      it "refuses #{sentence}, saying where it was written and what would be right" do
        expect { parse(name, raw) }.to raise_error(PhusionPassenger::OptionError, message)
      end
    end
  end
end
