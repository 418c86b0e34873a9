# frozen_string_literal: true

require "time"
require "zlib"

RSpec.describe "the files of a Rails application" do
  FOREVER = "public, max-age=315360000, immutable"
  END_OF_TIME = "Thu, 31 Dec 2037 23:55:55 GMT"
  DIGESTED = %r{/application-\h{64}\.(?:css|js)\z}

  def public_file(path)
    File.join(server.directory, "public", path)
  end

  # What the page needs, as [URL path, …]; only from this server.
  def parts_of(page)
    page.body.scan(%r{<(?:link|script|img)\b[^>]*?\b(?:href|src)="(/[^"]+)"}).flatten.map { |path| CGI.unescapeHTML(path) }.uniq
  end

  def asset_of(page, type)
    parts_of(page).grep(%r{/application-\h+\.#{type}\z}).first or raise "no #{type} on #{page.inspect}"
  end

  # By a program that knows brotli.
  def decoded_by_curl(path, encoding)
    result = run_command(["curl", "--silent", "--show-error", "--compressed", "--header", "Accept-Encoding: #{encoding}",
                          "http://127.0.0.1:#{server.port}#{path}"], directory: server.directory)
    expect(result.status.exitstatus).to eq(0), result.to_s
    result.out.b
  end

  def expect_asset(path, headers = {})
    response = nil
    expect { response = server.get(path, **headers) }.not_to(change { server.asked_for(path) })
    expect(response).to have_attributes(status: 200)
    expect(response).not_to come_from_rails
    expect(response.all("cache-control")).to eq([FOREVER])
    expect(response.all("expires")).to eq([END_OF_TIME])
    expect(response.all("etag")).to eq([])
    response
  end

  describe "with precompiled assets" do
    serve_bulletin

    %w[css js].each do |type|
      it "are sent for ever, without asking Rails: #{type}" do
        path = asset_of(server.get("/"), type)
        expect(path).to match(DIGESTED)
        response = expect_asset(path)
        expect(response.body == File.binread(public_file(path))).to be(true)
        expect(response["content-type"]).to eq({ "css" => "text/css; charset=utf-8", "js" => "text/javascript; charset=utf-8" }[type])
        expect(response["vary"]).to match(/\baccept-encoding\b/i)
        expect(response["content-encoding"]).to be_nil
      end

      it "are sent as Sprockets has compressed them: #{type}" do
        path = asset_of(server.get("/"), type)
        twin = File.binread("#{public_file(path)}.gz")
        response = expect_asset(path, "Accept-Encoding" => "gzip")
        expect(response["content-encoding"]).to eq("gzip")
        expect(response["vary"]).to match(/\baccept-encoding\b/i)
        expect(response["content-length"]).to eq(twin.bytesize.to_s)
        expect(response.body == twin).to be(true)
        expect(Zlib.gunzip(response.body) == File.binread(public_file(path))).to be(true)
      end

      it "are compressed with brotli for who wants nothing else: #{type}" do
        path = asset_of(server.get("/"), type)
        expect(File.exist?("#{public_file(path)}.br")).to be(false)
        2.times do
          response = server.get(path, "Accept-Encoding" => "br")
          expect(response["content-encoding"]).to eq("br")
          expect(response.all("cache-control")).to eq([FOREVER])
          expect(response.body.bytesize).to be < File.size(public_file(path))
        end
        expect(decoded_by_curl(path, "br") == File.binread(public_file(path))).to be(true)
      end

      it "answer conditions, ranges and HEAD without Rails: #{type}" do
        path = asset_of(server.get("/"), type)
        whole = File.binread(public_file(path))
        expect do
          expect(server.get(path, "If-Modified-Since" => File.mtime(public_file(path)).httpdate).status).to eq(304)
          expect(server.get(path, "Range" => "bytes=5-14")).to have_attributes(status: 206, body: whole[5, 10])
          head = server.head(path)
          expect(head).to have_attributes(status: 200, body: "")
          expect(head["content-length"]).to eq(whole.bytesize.to_s)
          expect(head.all("cache-control")).to eq([FOREVER])
        end.not_to(change { server.asked_for(path) })
      end
    end

    it "are all there that the pages name" do
      pages = ["/", "/posts/1", "/posts/9", "/highlights", "/session/new", "/live"].map { |path| server.get(path) }
      expect(pages.map(&:status).uniq).to eq([200])
      parts = pages.flat_map { |page| parts_of(page) }.uniq
      expect(parts.grep(DIGESTED).size).to eq(2)
      parts.each { |path| expect(server.get(path)).to have_attributes(status: 200), path }
      of_the_server = parts.grep(%r{\A/(?:assets/|favicon)})
      expect(of_the_server.size).to be >= 4
      of_the_server.each { |path| expect(server.get(path)).not_to come_from_rails }
    end

    it "get Rails' own page where an asset is missing, and nobody keeps that for ever" do
      missing = "/assets/application-#{"0" * 64}.css"
      response = server.get(missing)
      expect(response).to have_attributes(status: 404, body: File.binread(public_file("404.html")))
      expect(response).to come_from_rails
      expect(response["cache-control"].to_s).not_to match(/immutable|public|max-age=[1-9]/)
      expect(response["expires"]).to be_nil
    end

    it "without a digest have validators and no such promise" do
      %w[/robots.txt /favicon.svg /404.html].each do |path|
        response = nil
        expect { response = server.get(path) }.not_to(change { server.asked_for(path) })
        expect(response).to have_attributes(status: 200, body: File.binread(public_file(path)))
        expect(response).not_to come_from_rails
        expect(response["cache-control"].to_s).not_to match(/immutable|max-age=[1-9]/)
        expect(server.get(path, "If-None-Match" => response["etag"]).status).to eq(304)
      end
    end

    it "are not sent for POST, which is Rails' to answer" do
      path = asset_of(server.get("/"), "css")
      expect { expect(server.post(path, "")).to have_attributes(status: 404).and come_from_rails }.to change { server.asked_for(path) }.by(1)
    end

    it "leave manifests and what is hidden alone" do
      manifest = Dir.children(public_file("assets")).grep(/\A\.sprockets-manifest/).first
      expect(server.get("/assets/#{manifest}").status).to eq(404)
    end
  end

  it "are recognised below another config.assets.prefix" do
    directory = Harness::Bulletin.production(settings: 'config.assets.prefix = "/digested"')
    File.rename(File.join(directory, "public/assets"), File.join(directory, "public/digested"))
    @server = Harness::BulletinServer.new(directory)
    started << server
    server.start
    page = server.get("/")
    expect(asset_of(page, "css")).to start_with("/digested/application-")
    parts_of(page).grep(%r{\A/digested/}).each { |path| expect_asset(path) }
    server.stop
  end

  it "are served below config.relative_url_root" do
    directory = Harness::Bulletin.production(settings: 'config.relative_url_root = "/blog"')
    Harness::Bulletin.edit(directory, "config.ru") { |text| text.sub("run Rails.application", 'map("/blog") { run Rails.application }') }
    @server = Harness::BulletinServer.new(directory)
    started << server
    server.start
    page = server.get("/blog")
    expect(page).to have_attributes(status: 200), page.inspect
    expect(asset_of(page, "css")).to start_with("/blog/assets/application-")
    parts_of(page).grep(%r{\A/blog/assets/}).each { |path| expect_asset(path) }
    expect(server.get("/blog/robots.txt")).to have_attributes(status: 200, body: File.binread(public_file("robots.txt")))
    server.get("/blog/highlights")
    expect(server.get("/blog/highlights")).to have_attributes(status: 200)
    server.stop
  end

  it "are served for `rails server` in production, too" do
    @server = Harness::RailsServer.new(Harness::Bulletin.production, "-e", "production")
    started << server
    server.start
    page = server.get("/")
    expect(page).to come_from_rails
    %w[css js].each do |type|
      path = asset_of(page, type)
      expect(expect_asset(path).body == File.binread(public_file(path))).to be(true)
      expect(expect_asset(path, "Accept-Encoding" => "gzip").body == File.binread("#{public_file(path)}.gz")).to be(true)
    end
    server.stop
  end

  it "include the page for errors, shown while the application does not boot" do
    directory = Harness::Bulletin.production({ "config/initializers/broken.rb" => 'raise "the database password is KEEP-THIS"' })
    @server = Harness::BulletinServer.new(directory)
    started << server
    server.start
    response = server.get("/")
    expect(response).to have_attributes(status: 500, body: File.binread(public_file("500.html")))
    expect(response["content-type"]).to start_with("text/html")
    expect(response["cache-control"].to_s).not_to match(/public|max-age=[1-9]/)
    expect(server.get("/robots.txt").status).to eq(200)
    expect(server.said).to include("KEEP-THIS")
    server.stop
  end
end
