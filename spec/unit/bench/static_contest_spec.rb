# frozen_string_literal: true

require_relative "../../../bench/bench"
require "tmpdir"

RSpec.describe Bench::Static::Contest do
  around { |example| Dir.mktmpdir { |dir| (@dir = dir) && example.run } }

  # A server that sends what lies under public/, but for what a spec puts into `answers`.
  fake = Struct.new(:key, :site, :answers) do
    def response_headers = %w[Etag]
    def public_command = key.to_s
    def definition = nil
    def url(path) = "http://#{key}#{path}"

    def ask(path, headers)
      return response("304", "") if headers.key?("If-None-Match")

      answers.fetch(path) do
        gzip = ".gz" if headers["Accept-Encoding"]
        file = [path, "#{path}.html"].map { |name| File.join(site.public_dir, name) }.find { |name| File.exist?(name) }
        response("200", File.binread("#{file}#{gzip}"), "etag" => "\"#{key}\"", "content-encoding" => gzip && "gzip")
      end
    end

    def response(code, body, fields = {})
      Struct.new(:code, :body, :fields) { def [](name) = fields[name] }.new(code, body, fields)
    end
  end

  let(:site) { Bench::Static::Site.new }
  let(:ours) { fake.new(:passenger, site, {}) }
  let(:nginx) { fake.new(:nginx, site, {}) }
  let(:progress) { [] }
  let(:session) do
    progress = self.progress
    directory = @dir
    Object.new.tap do |session|
      session.define_singleton_method(:prepare) { |site, _ruby| site.prepare(directory, nil) }
      session.define_singleton_method(:start) { |server, _site, _setup| server }
      session.define_singleton_method(:say) { |line| progress << line }
    end
  end
  let(:setup) { Bench::Setup.parse(%w[static --warmup 1]).tap { |setup| setup.rounds = 0 } }
  let(:contest) { described_class.new(Bench::Static::CASES, [ours, nginx], setup, session, site: site) }
  let(:loads) { [] }

  before do
    allow(Bench::Wrk).to receive(:new) do |url, **options|
      loads << [url, options[:headers]]
      instance_double(Bench::Wrk, run: nil)
    end
  end

  it "measures all cases when every server sends the same" do
    contest.run

    expect(contest.unequal).to eq []
    expect(contest.cases).to eq Bench::Static::CASES
    expect(loads).to include(["http://passenger/#{Bench::Static::Site::STYLESHEET}", { "Accept-Encoding" => "gzip" }])
  end

  it "asks each server for a 304 with that server's own ETag" do
    contest.run

    expect(loads).to include(["http://passenger/icon.png", { "If-None-Match" => '"passenger"' }],
                             ["http://nginx/icon.png", { "If-None-Match" => '"nginx"' }])
  end

  it "leaves out a case in which one server sends something else, and says which one and what" do
    nginx.answers["/about"] = nginx.response("404", "no")
    contest.run

    expect(contest.unequal).to eq ["UNEQUAL: page: nginx answered /about with status 404 instead of 200, 2 bytes instead of 4096"]
    expect(contest.cases.map(&:name)).to eq %w[1kb 4kb 64kb 10mb css 304]
    expect(loads.map(&:first)).not_to include(a_string_ending_with("/about"))
    expect(progress).to include(a_string_including("!!! UNEQUAL: page"))
  end

  it "can't ask for a 304 where a server names nothing to compare with" do
    ours.answers["/icon.png"] = ours.response("200", "x" * 4096)
    contest.run

    expect(contest.unequal).to include "UNEQUAL: 304: passenger sent neither ETag nor Last-Modified for /icon.png"
  end

  it "refuses several numbers of connections" do
    setup.connections = [16, 32]

    expect { contest }.to raise_error(Bench::Error, /one number of connections, not with 16 and 32/)
  end
end
