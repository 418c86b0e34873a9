# frozen_string_literal: true

require_relative "../support/nginx"
require_relative "../support/static_site"

# RFC 9110 §14. The file has 1000 bytes, none of which is where another could be.
RSpec.describe "ranges of static files" do
  site = Harness::StaticSite
  exact = site::OLD.httpdate
  older = (site::OLD - 1).httpdate
  newer = (site::OLD + 1).httpdate
  own = ->(etag) { etag }
  weak = ->(etag) { "W/#{etag}" }
  file = "/thousand.bin"
  asset = "/assets/app-0123456789abcdef0123456789abcdef.css"
  text = "p { color: red }\n" * 100

  serve_beside_nginx(
    "thousand.bin" => site.noise(1000), "large.bin" => site.noise(3_000_000, 2), "empty.txt" => "", "page.html" => "0123456789",
    "notes.txt" => "0123456789", asset[1..] => text, "#{asset[1..]}.gz" => site.gzip(text)
  )

  def self.ranges(target, table)
    answer_alike(table.to_h { |sentence, (status, range, more)| [sentence, [status, "GET", target, { "Range" => range, **(more || {}) }]] })
  end

  # sentence => [reason, our facts, nginx's facts, range, further headers]
  def self.otherwise(target, table)
    answer_otherwise(table.to_h do |sentence, (reason, ours, theirs, range, more)|
      [sentence, [reason, ours, theirs, "GET", target, { "Range" => range, **(more || {}) }]]
    end)
  end

  describe "one range" do
    ranges(
      file,
      "the first bytes" => [206, "bytes=0-9"],
      "the first byte" => [206, "bytes=0-0"],
      "bytes from the middle" => [206, "bytes=500-599"],
      "the last byte" => [206, "bytes=999-999"],
      "an open end" => [206, "bytes=990-"],
      "an open end from the start" => [206, "bytes=0-"],
      "a suffix" => [206, "bytes=-10"],
      "a suffix that is longer than the file" => [206, "bytes=-5000"],
      "an end beyond that of the file" => [206, "bytes=990-5000"],
      "leading zeros" => [206, "bytes=000-0009"],
      "white space after the unit" => [206, "bytes= 0-9"],
      "a start at the end of the file" => [416, "bytes=1000-"],
      "a start beyond the end" => [416, "bytes=5000-6000"],
      "an empty suffix" => [416, "bytes=-0"],
      "the unit in capitals" => [206, "BYTES=0-9"],
      "another unit" => [200, "lines=0-9"],
      "no unit" => [200, "0-9"],
      "an empty value" => [200, ""]
    )
    ranges("/large.bin", "bytes from the middle of a large file" => [206, "bytes=1000000-1999999"], "the large file's end" => [206, "bytes=-65536"])
    ranges("/page", "the first bytes of a page without its extension" => [206, "bytes=0-3"])
    ranges("/notes.txt", "the first bytes of a text" => [206, "bytes=0-3"])
    ranges(asset, "the first bytes of a digested asset" => [206, "bytes=0-9"])
    ranges("/nothing.bin", "a range of what is not a file" => [200, "bytes=0-9"])
  end

  describe "several ranges" do
    ranges(
      file,
      "two ranges" => [206, "bytes=0-9,100-109"],
      "two ranges with white space between them" => [206, "bytes=0-9 , 100-109"],
      "a first, a middle and a last range" => [206, "bytes=0-9,500-509,-10"],
      "ranges in descending order" => [206, "bytes=500-509,0-9"],
      "adjacent ranges" => [206, "bytes=0-9,10-19"],
      "ranges that overlap" => [206, "bytes=0-19,10-29"],
      "one that is there and one that is not" => [206, "bytes=0-9,5000-"],
      "two that are not there" => [416, "bytes=5000-,6000-"],
      "ranges that are more than the file together" => [200, "bytes=0-,0-"],
      "thirty-two ranges" => [206, "bytes=#{Array.new(32) { |n| "#{n * 10}-#{n * 10}" }.join(",")}"]
    )
    ranges("/notes.txt", "two ranges of a text" => [206, "bytes=0-2,5-7"])
    ranges("/large.bin", "three large ranges" => [206, "bytes=0-499999,1000000-1499999,-500000"])
    otherwise(
      file,
      "five hundred ranges" => ["nobody who reads a file in parts asks for so many at once; that is an attack",
                                { status: 200, "content-length" => "1000" }, { status: 206 },
                                "bytes=#{Array.new(500) { |n| "#{n}-#{n}" }.join(",")}"],
      "two ranges and an empty element" => ["an empty element of a list is nothing (RFC 9110 §5.6.1)",
                                            { status: 206 }, { status: 416 }, "bytes=0-9,,20-29"]
    )
  end

  describe "what is no range" do
    malformed = "a field that is malformed is ignored (RFC 9110 §14.2)"
    whole = { status: 200, "content-length" => "1000" }
    otherwise(
      file,
      ["bytes=abc", "bytes=-", "bytes=,", "bytes=--5", "bytes=+1-5", "bytes=0.5-9", "bytes=0-9,abc", "bytes=9-0", "bytes=1-2-3"]
        .to_h { |range| [range, [malformed, whole, { status: 416 }, range]] }
        .merge(
          "a reversed range beside a good one" => [malformed, whole, { status: 206 }, "bytes=9-0,20-29"],
          "an end that no 64 bits can hold" =>
            ["an end beyond that of the file is the file's", { status: 206, "content-range" => "bytes 990-999/1000" }, { status: 416 },
             "bytes=990-99999999999999999999"]
        )
    )
    ranges(file, "a start that no 64 bits can hold" => [416, "bytes=99999999999999999999-"])
  end

  describe "of an empty file" do
    ranges("/empty.txt", "a start beyond the first byte" => [416, "bytes=5-"])
    otherwise("/empty.txt", %w[bytes=0-9 bytes=0- bytes=-5].to_h do |range|
      [range, ["no byte can be sent of those asked for (RFC 9110 §15.5.17)", { status: 416, "content-range" => "bytes */0" },
               { status: 200 }, range]]
    end)
  end

  describe "with HEAD" do
    answer_otherwise(
      ["bytes=0-9", "bytes=0-9,20-29", "bytes=5000-"].to_h do |range|
        [range, ["ranges are for GET alone (RFC 9110 §14.2)", { status: 200, "content-length" => "1000" },
                 { status: range.end_with?("-") ? 416 : 206 }, "HEAD", file, { "Range" => range }]]
      end
    )
  end

  describe "of a file with a precompressed twin" do
    ranges(asset, "a range without Accept-Encoding" => [206, "bytes=17-33"])
    otherwise(
      asset,
      "a range with Accept-Encoding" =>
        ["a part of the file itself is what a download goes on with", { status: 206, "content-range" => "bytes 17-33/1700" },
         { "content-encoding" => "gzip" }, "bytes=17-33", { "Accept-Encoding" => "gzip" }]
    )
  end

  describe "with a condition" do
    ranges(
      file,
      "If-Range of the file's tag" => [206, "bytes=0-9", { "If-Range" => own }],
      "If-Range of the file's time" => [206, "bytes=0-9", { "If-Range" => exact }],
      "If-Range of another tag" => [200, "bytes=0-9", { "If-Range" => '"other"' }],
      "If-Range of the tag as a weak one" => [200, "bytes=0-9", { "If-Range" => weak }],
      "If-Range of an older time" => [200, "bytes=0-9", { "If-Range" => older }],
      "If-Range of a later time" => [200, "bytes=0-9", { "If-Range" => newer }],
      "If-Range of no date" => [200, "bytes=0-9", { "If-Range" => "yesterday" }],
      "If-Range of another tag, and a range beyond the end," => [200, "bytes=5000-", { "If-Range" => '"other"' }],
      "If-Range of the file's tag, and several ranges," => [206, "bytes=0-9,20-29", { "If-Range" => own }],
      "a range of what the client has already" => [304, "bytes=0-9", { "If-None-Match" => own }],
      "a range beyond the end of what the client has already" => [304, "bytes=5000-", { "If-None-Match" => own }],
      "a range of what has not been modified" => [304, "bytes=0-9", { "If-Modified-Since" => exact }],
      "a range of what the client does not have" => [206, "bytes=0-9", { "If-None-Match" => '"other"' }],
      "a range whose condition has failed" => [412, "bytes=0-9", { "If-Match" => '"other"' }]
    )
  end

  it "are the same bytes as those of the whole, wherever they lie" do
    whole = server.get("/large.bin").body
    expect(Digest::SHA256.hexdigest(whole)).to eq(Digest::SHA256.hexdigest(Harness::StaticSite.noise(3_000_000, 2)))
    random = Random.new(RSpec.configuration.seed)
    server.connect do |client|
      50.times do
        first, last = Array.new(2) { random.rand(whole.bytesize) }.minmax
        response = client.get("/large.bin", "Range" => "bytes=#{first}-#{last}")
        expect(response.status).to eq(206)
        expect(response["content-range"]).to eq("bytes #{first}-#{last}/#{whole.bytesize}")
        expect(response.body == whole[first..last]).to be(true), "bytes #{first}-#{last} are others"
      end
    end
  end

  it "carry the file's validators" do
    tag = server.get(file)["etag"]
    [{ "Range" => "bytes=0-9" }, { "Range" => "bytes=0-9,20-29" }].each do |headers|
      response = server.get(file, **headers)
      expect(response["etag"]).to eq(tag)
      expect(response["last-modified"]).to eq(exact)
    end
  end

  it "use a boundary that another response does not" do
    boundaries = Array.new(5) { server.get(file, "Range" => "bytes=0-9,20-29")["content-type"] }
    expect(boundaries.uniq.size).to eq(5)
  end
end
