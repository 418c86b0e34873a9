# frozen_string_literal: true

require_relative "../support/static_site"

RSpec.describe "cached pages" do
  site = Harness::StaticSite

  describe "of an application that writes them" do
    serve "pages", max_pool_size: 1

    ["/", "/articles", "/articles/1", "/a/b/c/d", "/with%20space", "/f%C3%BCr", "/100%25", "/a+b", "/feed.xml", "/list.json"].each do |path|
      it "take the application's place until they are removed: #{path}" do
        server.post(path, "")
        server.connect do |client|
          2.times do
            rendered = client.get(path)
            expect(rendered).to by_app
            3.times do
              cached = client.get(path)
              expect(cached["x-app"]).to be_nil
              expect(cached).to have_attributes(status: 200, body: rendered.body)
              expect(client.head(path)["content-length"]).to eq(cached["content-length"])
            end
            expect(client.post(path, "").body).to eq("expired")
          end
        end
      end
    end

    it "are the same with a slash at the end" do
      server.post("/slash", "")
      rendered = server.get("/slash/")
      expect(rendered).to by_app
      ["/slash", "/slash/"].each { |path| expect(server.get(path)).to have_attributes(body: rendered.body).and satisfy { |page| page["x-app"].nil? } }
    end

    it "are sent compressed as the application has compressed them" do
      server.post("/zipped", "")
      rendered = server.get("/zipped").body
      twin = File.join(server.directory, "public/zipped.html.gz")
      compressed = nil
      eventually("the twin") { (compressed = server.get("/zipped", "Accept-Encoding" => "gzip")).body == File.binread(twin) }
      expect(compressed["content-encoding"]).to eq("gzip")
      expect(Zlib.gunzip(compressed.body)).to eq(rendered)
      expect(compressed["vary"]).to match(/accept-encoding/i)
      expect(server.get("/zipped")["vary"]).to match(/accept-encoding/i)
      expect(server.get("/zipped").body).to eq(rendered)
    end
  end

  describe "by their names" do
    files = { "index.html" => "home", "foo.html" => "foo", "dir/index.html" => "index of dir", "both.html" => "page", "both/index.html" => "index of both",
              "both/inner.html" => "inner", "exact" => "exact", "exact.html" => "page of exact", "name.xml.html" => "page of a name with an extension",
              "only/sub.html" => "sub", "a b.html" => "space", "Grüße.html" => "umlauts", "50%.html" => "percent", "noext" => "no extension",
              "data.json" => "{}", "deep/er/and/deeper.html" => "deep", "foo.htm" => "htm", "bar.php.html" => "php" }
    serve_files(files)

    {
      "/" => "home", "/foo" => "foo", "/foo.html" => "foo", "/foo/" => "foo", "/index" => "home", "/index.html" => "home", "/dir/" => "index of dir",
      "/both" => "page", "/both/" => "index of both", "/both/inner" => "inner", "/exact" => "exact", "/exact.html" => "page of exact",
      "/only/sub" => "sub", "/a%20b" => "space", "/Gr%C3%BC%C3%9Fe" => "umlauts", "/50%25" => "percent", "/noext" => "no extension",
      "/deep/er/and/deeper" => "deep", "/data.json" => "{}", "/%66oo" => "foo",
      "/?page=2" => "home", "/foo?a=b&c=d" => "foo", "/foo?" => "foo", "/dir/?x" => "index of dir", "/foo?/../x" => "foo"
    }.each do |target, content|
      it "are found: #{target}" do
        %w[GET HEAD].each do |method|
          response = ask(server, method, target)
          expect(response).to have_attributes(status: 200, body: method == "GET" ? content : "")
          expect(response["content-length"]).to eq(content.bytesize.to_s)
        end
      end
    end

    %w[/nothing /only /only/ /foo/index /foo/x /foo.htm.html /foo.html/ /foo.html.html /both/nothing /FOO /foo%2f /foo%00 /foo// //foo /./foo
       /dir/../foo /deep /deep/ /deep/er/and/].each do |target|
      it "are not found: #{target}" do
        response = server.get(target)
        expect(response).to by_app.or(have_attributes(status: 400))
      end
    end

    %w[POST PUT PATCH DELETE OPTIONS].each do |method|
      it "are not for #{method}" do
        ["/", "/foo", "/foo/", "/foo.html", "/dir/"].each do |target|
          response = ask(server, method, target, "Content-Length" => "0")
          expect(response).to by_app
          expect(response.body).to eq("app #{method} #{target}")
        end
      end
    end

    it "have the type, the validators and the ranges of a file" do
      ["/foo", "/foo/", "/foo.html", "/", "/dir/"].each do |target|
        response = server.get(target)
        expect(response["content-type"]).to eq("text/html; charset=utf-8")
        expect(response["last-modified"]).to eq(site::OLD.httpdate)
        expect(response["accept-ranges"]).to eq("bytes")
        expect(response.all("cache-control") + response.all("expires")).to eq([])
        expect(server.get(target, "If-None-Match" => response["etag"]).status).to eq(304)
        expect(server.get(target, "If-Modified-Since" => response["last-modified"]).status).to eq(304)
        expect(server.get(target, "Range" => "bytes=1-2")).to have_attributes(status: 206, body: response.body[1, 2])
      end
    end
  end

  describe "with a compressed twin" do
    page = "<p>page</p>" * 100
    twin = site.gzip(page)

    def directory(files)
      Harness::StaticSite.directory(files)
    end

    it "are sent compressed to who accepts it, as the page that they are" do
      server = start_server(directory("foo.html" => page, "foo.html.gz" => twin), max_pool_size: 1)
      %w[/foo /foo.html /foo/].each do |target|
        response = server.get(target, "Accept-Encoding" => "gzip, deflate, br")
        expect(response["content-encoding"]).to eq("gzip")
        expect(response["content-type"]).to eq("text/html; charset=utf-8")
        expect(response.body == twin).to be(true)
        expect(server.get(target)).to have_attributes(body: page)
        expect(server.get(target)["content-encoding"]).to be_nil
        expect(server.get(target)["etag"]).not_to eq(response["etag"])
      end
      server.stop
    end

    it "that is older than the page are not sent compressed that way" do
      app = directory("foo.html" => page)
      site.write(File.join(app, "public"), { "foo.html.gz" => site.gzip("STALE " * 200) }, mtime: site::OLD - 1)
      server = start_server(app, max_pool_size: 1)
      3.times do
        response = server.get("/foo", "Accept-Encoding" => "gzip")
        expect(response["content-encoding"] == "gzip" ? Zlib.gunzip(response.body) : response.body).to eq(page)
      end
      server.stop
    end

    it "but without the page itself are the application's to answer" do
      server = start_server(directory("foo.html.gz" => twin), max_pool_size: 1)
      expect(server.get("/foo", "Accept-Encoding" => "gzip")).to by_app
      server.stop
    end
  end

  describe "with options" do
    files = { "index.html" => "home", "foo.html" => "foo", "plain.txt" => "plain" }

    it "are not looked for with --no-page-caching, but as files they are there" do
      server = start_server(site.directory(files), max_pool_size: 1, page_caching: false)
      ["/", "/foo", "/foo/", "/index"].each { |target| expect(server.get(target)).to by_app }
      expect(server.get("/foo.html").body).to eq("foo")
      expect(server.get("/plain.txt").body).to eq("plain")
      server.stop
    end

    it "are looked for in --page-cache-dir" do
      app = site.directory(files)
      site.write(File.join(app, "cache/pages"), { "index.html" => "cached home", "bar.html" => "cached bar", "dir/index.html" => "cached dir", "feed.xml" => "cached feed" })
      server = start_server(app, max_pool_size: 1, page_cache_dir: "cache/pages")
      { "/feed.xml" => "cached feed", "/bar.html" => "cached bar", "/" => "cached home", "/bar" => "cached bar", "/bar/" => "cached bar", "/dir/" => "cached dir" }.each do |target, content|
        expect(server.get(target)).to have_attributes(status: 200, body: content)
      end
      expect(server.get("/plain.txt").body).to eq("plain")
      expect(server.get("/foo.html").body).to eq("foo")
      server.stop
    end

    it "are looked for in a --page-cache-dir that the application makes later" do
      pages = Harness::Suite.new_directory("pages")
      Dir.rmdir(pages)
      server = start_server(Harness::Apps.directory("pages"), max_pool_size: 1, page_cache_dir: pages, environment: { "PAGES" => pages })
      rendered = server.get("/articles")
      expect(rendered).to by_app
      expect(server.get("/articles").body).to eq(rendered.body)
      expect(server.get("/articles")["x-app"]).to be_nil
      FileUtils.rm_rf(pages)
      expect(server.get("/articles")).to by_app
      server.stop
    end

    it "cannot lead out of --page-cache-dir" do
      app = site.directory({})
      site.write(app, "cache/secret.html" => "KEEP-THIS", "cache/pages/ok.html" => "ok")
      File.symlink("/etc", File.join(app, "cache/pages/etc"))
      server = start_server(app, max_pool_size: 1, page_cache_dir: "cache/pages")
      expect(server.get("/ok").body).to eq("ok")
      %w[/../secret /%2e%2e/secret /..%2fsecret /etc/passwd].each { |target| expect(server.get(target).body).not_to match(/KEEP-THIS|^root:/) }
      server.stop
    end
  end
end
