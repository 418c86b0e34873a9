# frozen_string_literal: true

require_relative "../../../bench/bench"
require "tmpdir"

RSpec.describe Bench::Static::Answer do
  def answer(status: 200, encoding: nil, length: 5, digest: "a")
    described_class.new(status, encoding, length, digest)
  end

  {
    "nothing where both are the same" => [{}, []],
    "the status" => [{ status: 404 }, ["status 404 instead of 200"]],
    "the coding, with its size" => [{ encoding: "gzip", length: 3 }, ["Content-Encoding gzip instead of none", "3 bytes instead of 5"]],
    "a body of the same size that has another content" => [{ digest: "b" }, ["other content"]]
  }.each do |what, (difference, words)|
    it "names #{what}" do
      expect(answer(**difference).differences(answer)).to eq words
    end
  end

  it "is taken from a response as it came, still encoded" do
    response = Struct.new(:code, :body) { def [](name) = { "content-encoding" => "gzip" }[name] }.new("200", "hello")

    expect(described_class.of(response).to_a).to eq [200, "gzip", 5, Digest::SHA256.hexdigest("hello")]
  end
end

RSpec.describe Bench::Static::Case do
  def named(name)
    Bench::Static::CASES.find { |kase| kase.name == name }
  end

  describe "the headers of a request" do
    it "are the same for every server where nothing is conditional" do
      expect(named("1kb").request_headers { raise "no need to ask" }).to eq({})
      expect(named("css").request_headers { raise "no need to ask" }).to eq("Accept-Encoding" => "gzip")
    end

    {
      "name the server's own ETag" => [{ "etag" => '"1-2"', "last-modified" => "then" }, { "If-None-Match" => '"1-2"' }],
      "name the date where a server sends no ETag" => [{ "last-modified" => "then" }, { "If-Modified-Since" => "then" }],
      "can't be made up where a server sends neither" => [{}, nil]
    }.each do |words, (response, headers)|
      it words do
        expect(named("304").request_headers { response }).to eq headers
      end
    end
  end

  describe "the expected answer" do
    around { |example| Dir.mktmpdir { |dir| (@dir = dir) && example.run } }

    it "is the file, the twin of a stylesheet, the page behind its path, or nothing at all" do
      site = Bench::Static::Site.new
      site.prepare(@dir, nil)
      expected = Bench::Static::CASES.to_h { |kase| [kase.name, kase.expected(site.public_dir).to_a[0, 3]] }

      expect(expected).to include("1kb" => [200, nil, 1024], "4kb" => [200, nil, 4096], "64kb" => [200, nil, 65_536],
                                  "10mb" => [200, nil, 10_485_760], "page" => [200, nil, 4096], "304" => [304, nil, 0])
      expect(expected.fetch("css")).to eq [200, "gzip", File.size(File.join(site.public_dir, "#{Bench::Static::Site::STYLESHEET}.gz"))]
    end
  end

  it "wants to be as fast as nginx, nearly so with bodies that the kernel sends, and eight times as fast as Puma" do
    factors = Bench::Static::CASES.to_h { |kase| [kase.name, [kase.goal(:nginx).factor, kase.goal(:nginx).aim]] }

    expect(factors).to eq("1kb" => [1.0, 1.2], "4kb" => [1.0, 1.2], "page" => [1.0, 1.2], "64kb" => [0.95, nil], "10mb" => [0.9, nil],
                          "css" => [1.0, nil], "304" => [1.0, nil])
    expect(Bench::Static::CASES.map { |kase| kase.goal(:puma).factor }.uniq).to eq [8.0]
  end
end
