# frozen_string_literal: true

require_relative "../support/static_site"

# Precompressed twins are told apart from what is compressed on the way by their bytes: they hold another text than the file.
RSpec.describe "static files and Accept-Encoding" do
  site = Harness::StaticSite
  text = "body { color: red }\n" * 500
  all = { "br" => "brotli twin", "zst" => "zstd twin", "gz" => "gzip twin" }
  coding = { "br" => "br", "zst" => "zstd", "gz" => "gzip" }

  def self.files(text, all)
    { "all.css" => text, "gz.css" => text, "br.css" => text, "zst.css" => text, "none.css" => text, "tiny.css" => "p{}", "image.png" => "png" * 5000,
      "tiny-twin.css" => "p { color: red }\n" * 20, "tiny-twin.css.gz" => all["gz"], "page.html" => text, "page.html.br" => all["br"], "data.bin" => "x" * 5000,
      "assets/app-#{"0" * 64}.js" => text, "assets/app-#{"0" * 64}.js.br" => all["br"], "gz.css.gz" => all["gz"], "br.css.br" => all["br"],
      "zst.css.zst" => all["zst"], "archive.tar.gz" => "an archive", "only.css.gz" => all["gz"],
      "stale.css" => text }.merge(all.transform_keys { |extension| "all.css.#{extension}" })
  end

  describe "with twins" do
    before(:context) do
      app = site.directory(self.class.files(text, all))
      site.write(File.join(app, "public"), { "stale.css.gz" => "stale twin", "stale.css.br" => "stale twin", "stale.css.zst" => "stale twin" }, mtime: site::OLD - 1)
      site.write(File.join(app, "public"), { "newer.css" => text, "newer.css.gz" => all["gz"] })
      File.utime(site::OLD + 60, site::OLD + 60, File.join(app, "public/newer.css.gz"))
      @server = Harness.server(app, max_pool_size: 1).start
      site.settle(File.join(app, "public/newer.css.gz"))
    end

    after(:context) do
      @server.stop
    ensure
      @server.destroy if @server.running?
    end

    # Accept-Encoding => the twin that is sent of a file that has all of them, or nil for the file itself
    {
      nil => nil, "" => nil, "gzip" => "gz", "br" => "br", "zstd" => "zst", "GZIP" => "gz", "x-gzip" => "gz", "gzip;q=1.0" => "gz", "gzip; q=0.5" => "gz",
      "gzip ; q=0.001" => "gz", "gzip;Q=1" => "gz", "gzip;q=0" => nil, "gzip;q=0.000" => nil, "br;q=0, gzip;q=0, zstd;q=0" => nil,
      "br;q=0.1, gzip" => "gz", "gzip;q=0.5, br;q=0.9" => "br", "br;q=0.2,zstd;q=0.9,gzip;q=0.5" => "zst", "gzip, identity;q=0" => "gz",
      "identity" => nil, "identity;q=1, gzip;q=0.5" => nil, "gzip;q=0.5, identity;q=0.4" => "gz", "identity;q=0, gzip;q=0.1" => "gz",
      "deflate" => nil, "compress, deflate" => nil, "deflate, gzip" => "gz", "gzip, deflate, br, zstd" => :any, "*" => :any, "*;q=0" => :refused,
      "*;q=0.1, br;q=0" => :not_br, "gzip;q=2" => :any_or_none, "gzip;q=abc" => :any_or_none, "nonsense;;;=" => :any_or_none,
      "identity;q=0" => :refused, "identity;q=0, *;q=0" => :refused, "gzip;q=0, *" => :not_gz
    }.each do |accepted, expected|
      it "answer #{accepted.inspect} with #{expected.inspect}" do
        headers = accepted ? { "Accept-Encoding" => accepted } : {}
        response = server.get("/all.css", **headers)
        expect(response["vary"]).to match(/\Aaccept-encoding\z/i)
        sent = response.status == 200 ? coding.key(response["content-encoding"]) : response.status
        case expected
        when nil then expect([sent, response["content-encoding"], response.body == text]).to eq([nil, nil, true])
        when String then expect([sent, response.body]).to eq([expected, all[expected]])
        when :any then expect(all).to include(sent => response.body)
        when :any_or_none then expect(all.merge(nil => text)).to include(sent => response.body)
        when :not_br then expect(all.except("br").merge(nil => text)).to include(sent => response.body)
        when :not_gz then expect(all.except("gz").merge(nil => text)).to include(sent => response.body)
        # Either 406, or what there is all the same (RFC 9110 §12.5.3).
        when :refused then expect([[406, response.body], [nil, text], *all.to_a]).to include([sent, response.body])
        end
      end
    end

    %w[gz br zst].each do |extension|
      it "send the only twin that there is to who accepts it: .#{extension}" do
        response = server.get("/#{extension}.css", "Accept-Encoding" => coding[extension])
        expect(response).to have_attributes(status: 200, body: all[extension])
        expect(response["content-encoding"]).to eq(coding[extension])
        expect(response["content-type"]).to eq("text/css; charset=utf-8")
        expect(response["content-length"]).to eq(all[extension].bytesize.to_s)
        expect(response["vary"]).to match(/\Aaccept-encoding\z/i)
        head = server.head("/#{extension}.css", "Accept-Encoding" => coding[extension])
        expect([head["content-encoding"], head["content-length"]]).to eq([coding[extension], all[extension].bytesize.to_s])
      end
    end

    it "send a twin of a small file too, and of a page and an asset" do
      expect(server.get("/tiny-twin.css", "Accept-Encoding" => "gzip").body).to eq(all["gz"])
      expect(server.get("/page", "Accept-Encoding" => "br")).to have_attributes(status: 200, body: all["br"])
      expect(server.get("/page.html", "Accept-Encoding" => "br").body).to eq(all["br"])
      asset = server.get("/assets/app-#{"0" * 64}.js", "Accept-Encoding" => "br")
      expect(asset.body).to eq(all["br"])
      expect(asset["cache-control"]).to eq("public, max-age=315360000, immutable")
      expect(asset["content-type"]).to eq("text/javascript; charset=utf-8")
    end

    it "send no twin that is older than its file, but one that is newer" do
      %w[gzip br zstd].each do |accepted|
        response = server.get("/stale.css", "Accept-Encoding" => accepted)
        expect(response.body).not_to include("stale twin")
      end
      expect(server.get("/newer.css", "Accept-Encoding" => "gzip").body).to eq(all["gz"])
      expect(server.get("/newer.css", "Accept-Encoding" => "gzip")["last-modified"]).to eq(site::OLD.httpdate)
    end

    it "send no twin that is no regular file, or lies elsewhere" do
      path = File.join(server.directory, "public")
      site.write(path, %w[linked fifo directory].to_h { |name| ["#{name}.css", text] })
      File.symlink("/etc/passwd", File.join(path, "linked.css.gz"))
      File.mkfifo(File.join(path, "fifo.css.gz"))
      Dir.mkdir(File.join(path, "directory.css.gz"))
      %w[/linked.css /fifo.css /directory.css].each do |target|
        response = server.get(target, "Accept-Encoding" => "gzip")
        expect(response["content-encoding"] == "gzip" ? Zlib.gunzip(response.body) : response.body).to eq(text)
      end
    end

    it "give a twin that was new when it was first asked for a tag in the end" do
      path = File.join(server.directory, "public")
      site.write(path, { "fresh.css" => text, "fresh.css.gz" => all["gz"] })
      get = -> { server.get("/fresh.css", "Accept-Encoding" => "gzip") }
      eventually("the twin") { get.call.body == all["gz"] }
      %w[etag last-modified].each { |name| eventually("#{name} of the twin") { get.call[name] } }
    end

    it "send no twin without its file" do
      expect(server.get("/only.css", "Accept-Encoding" => "gzip")).to by_app
    end

    it "send a compressed file by its own name as what it is" do
      response = server.get("/archive.tar.gz", "Accept-Encoding" => "gzip")
      expect(response).to have_attributes(status: 200, body: "an archive")
      expect(response["content-encoding"]).to be_nil
      expect(server.get("/all.css.gz")).to have_attributes(status: 200, body: all["gz"])
    end

    it "give each form an entity tag of its own, and understand it" do
      tags = [{}, { "Accept-Encoding" => "gzip" }, { "Accept-Encoding" => "br" }, { "Accept-Encoding" => "zstd" }].map do |headers|
        tag = server.get("/all.css", **headers)["etag"]
        expect(server.get("/all.css", "If-None-Match" => tag, **headers)).to have_attributes(status: 304)
        expect(server.get("/all.css", "If-None-Match" => tag, **headers)["vary"]).to match(/accept-encoding/i)
        tag
      end
      expect(tags.compact.uniq.size).to eq(4)
    end

    # That there is one may be noticed a little later: the file itself serves as well. What it says must be the newest.
    it "follow a twin that comes, changes and goes" do
      path = File.join(server.directory, "public")
      site.write(path, { "twin.css" => text })
      get = -> { server.get("/twin.css", "Accept-Encoding" => "zstd").body }
      3.times do |round|
        expect(get.call).not_to start_with("twin ")
        File.binwrite(File.join(path, "twin.css.zst"), "twin #{round}")
        eventually("the twin") { get.call == "twin #{round}" }
        20.times do |change|
          File.binwrite(File.join(path, "twin.css.zst"), format("twin %03d", change))
          answer = get.call
          expect([text, format("twin %03d", change)]).to include(answer), "change #{change} gives #{answer[0, 20].inspect}"
        end
        eventually("the last change of the twin") { get.call == "twin 019" }
        File.delete(File.join(path, "twin.css.zst"))
      end
    end

    it "follow the file below its twin: one that has changed since has no twin any more" do
      path = File.join(server.directory, "public")
      site.write(path, { "base.css" => text, "base.css.gz" => "twin" })
      eventually("the twin") { server.get("/base.css", "Accept-Encoding" => "gzip").body == "twin" }
      File.binwrite(File.join(path, "base.css"), "p { changed: 1 }")
      expect(server.get("/base.css", "Accept-Encoding" => "gzip")).to have_attributes(body: "p { changed: 1 }")
    end

    it "compress text without a twin on the way, and nothing else" do
      response = server.get("/none.css", "Accept-Encoding" => "gzip")
      expect(response["content-encoding"]).to eq("gzip")
      expect(Zlib.gunzip(response.body)).to eq(text)
      expect(response["vary"]).to match(/\Aaccept-encoding\z/i)
      expect(response["etag"]).to start_with('W/"')
      expect(response["content-length"]).to eq(response.body.bytesize.to_s)
      expect(server.get("/none.css")["vary"]).to match(/\Aaccept-encoding\z/i)
      expect(server.get("/none.css", "If-None-Match" => response["etag"], "Accept-Encoding" => "gzip").status).to eq(304)
      %w[/tiny.css /image.png /data.bin].each do |target|
        response = server.get(target, "Accept-Encoding" => "gzip, br, zstd")
        expect(response["content-encoding"]).to be_nil
        expect(response["vary"]).to be_nil
      end
    end

    it "send parts of the file itself, whatever is accepted" do
      %w[/all.css /gz.css /none.css].each do |target|
        response = server.get(target, "Accept-Encoding" => "gzip, br", "Range" => "bytes=0-9")
        expect(response).to have_attributes(status: 206, body: text[0, 10])
        expect(response["content-encoding"]).to be_nil
        expect(response["content-range"]).to eq("bytes 0-9/#{text.bytesize}")
      end
    end
  end

  it "send the files as they are with --no-compression" do
    server = start_server(site.directory(self.class.files(text, all)), max_pool_size: 1, compression: false)
    %w[/all.css /gz.css /none.css /page].each do |target|
      response = server.get(target, "Accept-Encoding" => "gzip, br, zstd")
      expect(response).to have_attributes(status: 200, body: text)
      expect(response["content-encoding"]).to be_nil
      expect(response["vary"]).to be_nil
    end
    server.stop
  end
end
