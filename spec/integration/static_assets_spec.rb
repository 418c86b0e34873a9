# frozen_string_literal: true

require_relative "../support/nginx"
require_relative "../support/static_site"

RSpec.describe "digested assets" do
  site = Harness::StaticSite
  hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  forever = "public, max-age=315360000, immutable"
  end_of_time = "Thu, 31 Dec 2037 23:55:55 GMT"

  # By what makes the names. RFC 4648's Base32 has no 0, 1, 8, 9.
  digested = {
    "Sprockets" => ["assets/application-#{hex[0, 64]}.css", "assets/application-#{hex[0, 32]}.js", "assets/sub/dir/logo-#{hex[0, 64]}.png",
                    "assets/application-#{hex[0, 64]}.css.map", "assets/font-awesome-4.7-#{hex[0, 64]}.woff2", "assets/a-#{hex[0, 64]}.min.js"],
    "Propshaft" => ["assets/application-0123abcd.css", "assets/sub/logo-deadbeef.svg", "assets/app-0123abcd.digested.js",
                    "assets/app-0123abcd.js.map"],
    "esbuild" => ["assets/chunk-ABCDEFG2.js", "assets/app-A2B3C4D5.css", "assets/app-0AZ19XY8.digested.js", "builds/chunk-ABCDEFG2.js",
                  "assets/deep/chunk-22222222.js"],
    "Webpacker and Shakapacker" => ["packs/application-#{hex[0, 8]}.js", "packs/js/application-#{hex[0, 20]}.js",
                                    "packs/css/app-#{hex[0, 32]}.css", "packs-test/application-#{hex[0, 20]}.js", "packs/a-#{hex[0, 20]}.chunk.js"],
    "Vite Ruby" => ["vite/assets/application.4abc-_Z9.js", "vite/assets/application-4AbcDeF9.js", "vite-dev/assets/application-4AbcDeF9.css",
                    "vite-test/assets/x-________.js", "vite/assets/logo.BX3yz12a.svg"]
  }
  ordinary = {
    "plain names" => ["assets/application.css", "assets/application.js", "robots.txt", "packs/manifest.json", "vite/manifest.json"],
    "names with a year" => ["assets/report-2024.pdf", "assets/report-2024-01.pdf", "report-20240131.pdf"],
    "digests in capitals" => ["assets/application-#{hex[0, 32].upcase}.css", "assets/application-#{hex[0, 64].upcase}.css", "assets/app-DEADBEEF.css",
                              "packs/app-#{hex[0, 20].upcase}.js"],
    "digests of another length" => ["assets/app-#{hex[0, 7]}.css", "assets/app-#{hex[0, 9]}.css", "assets/app-#{hex[0, 31]}.css", "assets/app-#{hex[0, 33]}.css",
                                    "assets/app-#{hex[0, 63]}.css", "assets/app-#{hex[0, 64]}a.css", "packs/app-#{hex[0, 19]}.js", "assets/app-ABCDEF2.js",
                                    "assets/app-ABCDEFGH2.js"],
    "words of eight capitals" => ["assets/app-DOWNLOAD.js", "builds/app-DOWNLOAD.js"],
    "digests in another place" => ["assets/#{hex[0, 32]}.css", "assets/#{hex[0, 32]}-app.css", "assets/app-#{hex[0, 32]}", "assets/dir-#{hex[0, 32]}/x.css",
                                   "app-#{hex[0, 32]}.css", "images/logo-#{hex[0, 64]}.png", "vite/app-4AbcDeF9.js", "other/assets/app-#{hex[0, 64]}.css",
                                   "assetsx/app-#{hex[0, 64]}.css", "packs-production/app-#{hex[0, 20]}.js", "assets/app_#{hex[0, 32]}.css"]
  }

  describe "by their names" do
    serve_files([*digested.values, *ordinary.values].flatten.to_h { |name| [name, "content of #{name}"] })

    digested.each do |tool, names|
      names.each do |name|
        it "may be kept for ever: #{name} (#{tool})" do
          response = server.get("/#{name}")
          expect(response).to have_attributes(status: 200, body: "content of #{name}")
          expect(response.all("cache-control")).to eq([forever])
          expect(response.all("expires")).to eq([end_of_time])
          expect(response.all("etag")).to eq([])
          expect(response["last-modified"]).to eq(site::OLD.httpdate)
        end
      end
    end

    ordinary.each do |what, names|
      names.each do |name|
        it "are not taken for such: #{name} (#{what})" do
          response = server.get("/#{name}")
          expect(response).to have_attributes(status: 200, body: "content of #{name}")
          expect(response.all("cache-control") + response.all("expires")).to eq([])
          expect(response["etag"]).not_to be_nil
        end
      end
    end

    it "may be kept for ever as well when only a part, or nothing, is sent" do
      target = "/#{digested["Sprockets"].first}"
      [[{ "Range" => "bytes=0-3" }, 206], [{ "If-Modified-Since" => site::OLD.httpdate }, 304]].each do |headers, status|
        response = server.get(target, **headers)
        expect(response.status).to eq(status)
        expect(response.all("cache-control")).to eq([forever])
      end
      expect(server.head(target).all("cache-control")).to eq([forever])
    end

    # Else a cache could answer others with the error for years (RFC 9111 §3).
    it "may not be kept when they are an error" do
      target = "/#{digested["Sprockets"].first}"
      { { "Range" => "bytes=999-" } => 416, { "If-Match" => '"other"' } => 412, { "If-Unmodified-Since" => (site::OLD - 1).httpdate } => 412 }.each do |headers, status|
        response = server.get(target, **headers)
        expect(response.status).to eq(status)
        expect(response.all("cache-control") + response.all("expires")).to eq([])
      end
    end

    it "that are not there are the application's to answer, with its own headers" do
      response = server.get("/assets/missing-#{hex[0, 64]}.css")
      expect(response).to by_app
      expect(response.all("cache-control")).to eq(["private, max-age=7"])
      expect(response.all("etag")).to eq(['"app"'])
      expect(response.all("expires")).to eq([])
    end

    it "are known by the decoded name, and whatever the query" do
      name = digested["Sprockets"].first
      ["/#{name}?body=1", "/#{name.sub("-", "%2D")}", "/%61ssets/#{name.delete_prefix("assets/")}"].each do |target|
        expect(server.get(target)["cache-control"]).to eq(forever)
      end
    end
  end

  describe "beside nginx" do
    names = { "Sprockets" => "assets/application-#{hex[0, 64]}.css", "Propshaft" => "assets/application-0123abcd.css", "Webpacker" => "packs/application-#{hex[0, 20]}.js" }
    serve_beside_nginx(names.values.to_h { |name| [name, "content " * 200] }.merge(names.values.to_h { |name| ["#{name}.gz", site.gzip("content " * 200)] }))

    names.each_value do |name|
      [{}, { "Accept-Encoding" => "gzip" }, { "If-Modified-Since" => site::OLD.httpdate }, { "Range" => "bytes=8-15" }].each do |headers|
        it "are sent alike, but for one line of Cache-Control with immutable: #{name} #{headers}" do
          ours, theirs = [server, nginx].map { |one| facts_of(one, "GET", "/#{name}", headers) }
          theirs.delete("accept-ranges") if theirs["content-encoding"] # later versions than 1.22 give parts of twins
          expect(without_immutable(ours)).to eq(theirs)
          expect(ours["cache-control"]).to include("immutable")
          expect(server.get("/#{name}", **headers).all("cache-control")).to eq([forever])
        end
      end
    end
  end

  describe "by --asset-patterns" do
    it "are those that match one of them, and no others" do
      files = { "static/v1/app.css" => "v1", "static/app.css" => "app", "media/x-1.png" => "x", "assets/app-#{hex[0, 64]}.css" => "sprockets" }
      server = start_server(site.directory(files), max_pool_size: 1, asset_patterns: ['^/static/v\d+/', '^/media/.+-\d\.png$'])
      immutable = files.keys.to_h { |name| [name, server.get("/#{name}")["cache-control"]] }.compact
      expect(immutable).to eq("static/v1/app.css" => forever, "media/x-1.png" => forever)
      server.stop
    end

    it "are those of the environment variable" do
      server = start_server(site.directory({ "v1/a.css" => "a", "v2/b.css" => "b" }), max_pool_size: 1,
                                                                                       environment: { "PASSENGER_ASSET_PATTERNS" => "^/v1/ ^/v2/" })
      expect(%w[/v1/a.css /v2/b.css].map { |target| server.get(target)["cache-control"] }).to eq([forever, forever])
      server.stop
    end

    { "an open bracket" => "^/assets/(", "a lookahead, which RE2 does not know" => "^/assets/(?=x)", "an open class" => "[a-" }.each do |what, pattern|
      it "are refused at the start with #{what}" do
        command = Harness::PassengerServer.command("start", "--port", Harness::Server.free_port, "--asset-patterns", pattern)
        expect(run_command(command, directory: Harness::Apps.hello)).to be_one_line_error.naming(/asset.patterns/).naming(pattern)
      end
    end
  end
end
