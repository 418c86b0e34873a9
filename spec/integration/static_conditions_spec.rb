# frozen_string_literal: true

require_relative "../support/nginx"
require_relative "../support/static_site"

# RFC 9110 §13. The file's time is StaticSite::OLD.
RSpec.describe "conditional requests for static files" do
  site = Harness::StaticSite
  dates = site::DATE_FORMATS.transform_values { |format| site::OLD.strftime(format) }
  exact = dates["IMF-fixdate"]
  older = (site::OLD - 1).httpdate
  newer = (site::OLD + 1).httpdate
  own = ->(etag) { etag }
  weak = ->(etag) { "W/#{etag}" }
  among_others = ->(etag) { %("other", W/"more, with a comma",#{etag} ,"last") }
  weak_among_others = ->(etag) { %("other", W/#{etag}) }
  unquoted = ->(etag) { etag.delete('"') }
  file = "/notes.txt"

  serve_beside_nginx(
    "notes.txt" => "some notes", "page.html" => "<p>page</p>", "style.css" => "p{}", "code.js" => "1", "image.png" => site.noise(5000),
    "empty.txt" => "", "data.unknown-type" => "?", "no-extension" => "plain", "CAPITALS.TXT" => "loud",
    "dir/inner.pdf" => "%PDF", "assets/app-0123456789abcdef0123456789abcdef.css" => "digested"
  )

  describe "none at all" do
    %w[/notes.txt /page.html /style.css /code.js /image.png /empty.txt /data.unknown-type /no-extension /CAPITALS.TXT /dir/inner.pdf
       /notes.txt?query=1 /notes.txt? /nothing.txt /dir /dir/ /page /nothing/].each do |target|
      %w[GET HEAD].each do |method|
        answer_alike("#{method} #{target}" => [200, method, target])
      end
    end
    answer_otherwise(
      "GET /page/" => ["Rails' page caching keeps /page and /page/ in one file", { status: 200, "content-length" => "11" },
                       { status: 200, by: "the application" }, "GET", "/page/"]
    )
  end

  describe "If-Modified-Since" do
    answer_alike(
      "the exact time" => [304, "GET", file, { "If-Modified-Since" => exact }],
      "the exact time, to HEAD," => [304, "HEAD", file, { "If-Modified-Since" => exact }],
      "the exact time in the format of RFC 850" => [304, "GET", file, { "If-Modified-Since" => dates["RFC 850"] }],
      "the exact time in the format of asctime" => [304, "GET", file, { "If-Modified-Since" => dates["asctime"] }],
      "an older time" => [200, "GET", file, { "If-Modified-Since" => older }],
      "no date at all" => [200, "GET", file, { "If-Modified-Since" => "yesterday" }],
      "a day that does not exist" => [200, "GET", file, { "If-Modified-Since" => "Mon, 99 Feb 2020 04:05:06 GMT" }],
      "an empty value" => [200, "GET", file, { "If-Modified-Since" => "" }],
      "the exact time of a page without its extension" => [304, "GET", "/page", { "If-Modified-Since" => exact }],
      "the exact time of an empty file" => [304, "GET", "/empty.txt", { "If-Modified-Since" => exact }],
      "the exact time for what is not a file" => [200, "GET", "/nothing.txt", { "If-Modified-Since" => exact }]
    )
    answer_otherwise(
      "a later time" => ["the file has not been modified since then (RFC 9110 §13.1.3)", { status: 304 }, { status: 200 },
                         "GET", file, { "If-Modified-Since" => newer }]
    )
  end

  describe "If-None-Match" do
    answer_alike(
      "the file's tag" => [304, "GET", file, { "If-None-Match" => own }],
      "the file's tag, to HEAD," => [304, "HEAD", file, { "If-None-Match" => own }],
      "the file's tag, as a weak one," => [304, "GET", file, { "If-None-Match" => weak }],
      "the file's tag in a list" => [304, "GET", file, { "If-None-Match" => among_others }],
      "the file's tag in a list, as a weak one," => [304, "GET", file, { "If-None-Match" => weak_among_others }],
      "a star" => [304, "GET", file, { "If-None-Match" => "*" }],
      "another tag" => [200, "GET", file, { "If-None-Match" => '"other"' }],
      "another tag, to HEAD," => [200, "HEAD", file, { "If-None-Match" => '"other"' }],
      "the file's tag without quotes" => [200, "GET", file, { "If-None-Match" => unquoted }],
      "the tag of a page without its extension" => [304, "GET", "/page", { "If-None-Match" => own }],
      "another tag and the exact time" => [200, "GET", file, { "If-None-Match" => '"other"', "If-Modified-Since" => exact }],
      "the file's tag and the exact time" => [304, "GET", file, { "If-None-Match" => own, "If-Modified-Since" => exact }]
    )
    answer_otherwise(
      "the file's tag and an older time" =>
        ["the date does not count beside a tag (RFC 9110 §13.1.3)", { status: 304 }, { status: 200 },
         "GET", file, { "If-None-Match" => own, "If-Modified-Since" => older }]
    )
  end

  it "are the application's to answer where there is no file" do
    [{ "If-None-Match" => "*" }, { "If-None-Match" => '"app"' }, { "If-Match" => '"x"' }, { "Range" => "bytes=0-1" },
     { "If-Modified-Since" => exact }, { "If-Unmodified-Since" => older }].each do |headers|
      expect(server.get("/nothing.txt", **headers)).to by_app
    end
  end

  describe "If-Match and If-Unmodified-Since" do
    answer_alike(
      "the file's tag" => [200, "GET", file, { "If-Match" => own }],
      "the file's tag in a list" => [200, "GET", file, { "If-Match" => among_others }],
      "a star" => [200, "GET", file, { "If-Match" => "*" }],
      "another tag" => [412, "GET", file, { "If-Match" => '"other"' }],
      "another tag, to HEAD," => [412, "HEAD", file, { "If-Match" => '"other"' }],
      "the file's tag as a weak one" => [412, "GET", file, { "If-Match" => weak }],
      "the exact time" => [200, "GET", file, { "If-Unmodified-Since" => exact }],
      "a later time" => [200, "GET", file, { "If-Unmodified-Since" => newer }],
      "an older time" => [412, "GET", file, { "If-Unmodified-Since" => older }],
      "another tag to match, and the tag that is to be none," =>
        [412, "GET", file, { "If-Match" => '"other"', "If-None-Match" => own }],
      "the file's tag both to match and not to match" => [304, "GET", file, { "If-Match" => own, "If-None-Match" => own }],
      "the exact time in both directions" =>
        [304, "GET", file, { "If-Unmodified-Since" => exact, "If-Modified-Since" => exact }]
    )
    answer_otherwise(
      "the file's tag and an older time" =>
        ["the date does not count beside a tag (RFC 9110 §13.1.4)", { status: 200 }, { status: 412 },
         "GET", file, { "If-Match" => own, "If-Unmodified-Since" => older }],
      "no date" =>
        ["a date that is none is ignored (RFC 9110 §13.1.4)", { status: 200 }, { status: 412 },
         "GET", file, { "If-Unmodified-Since" => "yesterday" }]
    )
  end

  describe "other methods" do
    %w[POST PUT DELETE PATCH].each do |method|
      answer_otherwise(
        "#{method} to the name of a file" =>
          ["the application may have a route there", { status: 200, by: "the application" }, { status: 405 },
           method, file, { "Content-Length" => "0" }]
      )
    end
    answer_otherwise(
      "OPTIONS to the name of a file" =>
        ["the application may have a route there", { status: 200, by: "the application" }, { status: 405 }, "OPTIONS", file]
    )
    answer_alike("POST to the name of a page without its extension" => [200, "POST", "/page", { "Content-Length" => "0" }])
  end

  describe "entity tags" do
    it "are strong, and stay the same while the file does" do
      first = server.get(file)["etag"]
      expect(first).to match(/\A"[!#-~]+"\z/)
      expect(server.head(file)["etag"]).to eq(first)
      expect(server.get(file, "If-None-Match" => '"x"')["etag"]).to eq(first)
      expect(server.get(file, "If-None-Match" => first)["etag"]).to eq(first)
    end

    it "differ by size and by time" do
      path = File.join(server.directory, "public", "tagged.txt")
      tags = [["same", 0], ["longer", 0], ["same", 1], ["same", 0.5]].map do |content, seconds|
        site.write(File.dirname(path), { "tagged.txt" => content }, mtime: site::OLD + seconds)
        eventually("an entity tag for a file that has just been made") { server.get("/tagged.txt")["etag"] }
      end
      expect(tags.uniq.size).to eq(4)
    end

    it "are not given for digested assets, as by nginx" do
      [server, nginx].each do |one|
        expect(one.get("/assets/app-0123456789abcdef0123456789abcdef.css").all("etag")).to eq([])
      end
    end
  end

  it "leave the connection usable, whatever the answer" do
    server.connect do |client|
      [{ "If-None-Match" => "*" }, { "If-Match" => '"x"' }, {}, { "If-Modified-Since" => exact }, { "Range" => "bytes=99-" }].each do |headers|
        client.get(file, **headers)
      end
      expect(client.get(file).body).to eq("some notes")
      expect(client.head(file)["content-length"]).to eq("10")
      expect(client.get("/nothing.txt")).to by_app
      expect(client.stray_bytes).to eq("")
    end
  end
end
