# frozen_string_literal: true

# What the engine serves depends on the application's configuration, which nobody has to repeat for it.
RSpec.describe "What a loaded Rails application says about itself" do
  def start_rails(settings = "", files = {}, **options)
    @directory = Harness::Apps.directory("tiny_rails", { "settings.rb" => settings, **files })
    # Outside of the bundle of the specs, which has no Rails.
    server = start_server(@directory, bundled: false, environment: { "RAILS_ENV" => "production" }, max_pool_size: 1, turbocaching: false,
                                      **options)
    # Until it is loaded, the application has said nothing.
    expect(server.get("/up").body).to eq("up"), -> { server.tail }
    server
  end

  def put(name, text)
    Harness::Apps.write(@directory, name, text)
  end

  def expect_page(server, target, body)
    response = server.get(target)
    expect([response.status, response["content-type"].to_s[%r{\A[^;]+}], response.body]).to eq([200, "text/html", body]), -> { server.tail }
  end

  describe "decides where cached pages are" do
    it "with config.action_controller.page_cache_directory" do
      server = start_rails('config.action_controller.page_cache_directory = Rails.root.join("cache/pages")')
      expect_page(server, "/page/one", "page one, answer 1")
      expect(File.read("#{@directory}/cache/pages/page/one.html")).to eq("page one, answer 1")
      2.times { expect_page(server, "/page/one", "page one, answer 1") }
      expect(server.connect { |client| client.request("DELETE", "/page/one").read_response(to: "DELETE") }.status).to eq(204)
      expect_page(server, "/page/one", "page one, answer 2")
      server.stop
    end

    it "with what a controller says, even if it has to be computed" do
      server = start_rails(<<~RUBY, { "cache/ours/placed.html" => "placed" })
        config.x.pages.directory = -> { Rails.root.join("cache", "ours") }
      RUBY
      expect_page(server, "/page/two", "page two, answer 1")
      expect_page(server, "/page/two", "page two, answer 1")
      expect_page(server, "/placed", "placed")
      server.stop
    end

    it "unless it depends on the request: the application answers then, and the log says what can be done" do
      server = start_rails('config.x.pages.directory = -> { Rails.root.join("cache", request.host) }')
      expect_page(server, "/page/three", "page three, answer 1")
      expect_page(server, "/page/three", "page three, answer 2")
      expect(server.said).to match(/page cache directory of PagesController .*depends on the request.*--page-cache-dir/)
      server.stop
    end

    it "unless the option page_cache_dir names a directory" do
      server = start_rails('config.action_controller.page_cache_directory = Rails.root.join("cache/pages")',
                           { "cache/pages/a.html" => "of the application", "elsewhere/b.html" => "of the option" },
                           page_cache_dir: "elsewhere")
      expect_page(server, "/b", "of the option")
      expect(server.get("/a").body).to eq("answer 1")
      server.stop
    end

    it "unless cached pages are switched off" do
      server = start_rails('config.action_controller.page_cache_directory = Rails.root.join("cache/pages")',
                           { "cache/pages/a.html" => "cached" }, page_caching: false)
      expect(server.get("/a").body).to eq("answer 1")
      server.stop
    end

    it "anew with every restart" do
      server = start_rails('config.action_controller.page_cache_directory = Rails.root.join("first")',
                           { "first/a.html" => "first", "second/a.html" => "second" })
      expect_page(server, "/a", "first")
      put("settings.rb", 'config.action_controller.page_cache_directory = Rails.root.join("second")')
      put("tmp/restart.txt", "")
      eventually("pages of the second directory") { server.get("/a").body == "second" }
      server.stop
    end
  end

  it "decides where the static files are" do
    server = start_rails('config.paths["public"] = "htdocs"', { "htdocs/robots.txt" => "theirs", "public/robots.txt" => "not this" })
    expect(server.get("/robots.txt").body).to eq("theirs")
    server.stop
  end

  it "decides which files are digested assets" do
    name = "application-#{'0a' * 32}.js"
    server = start_rails("config.assets = ActiveSupport::OrderedOptions.new.update(prefix: \"/digested\")",
                         { "public/digested/#{name}" => "1", "public/assets/#{name}" => "1" })
    expect(server.get("/digested/#{name}")["cache-control"]).to include("immutable")
    expect(server.get("/assets/#{name}")["cache-control"].to_s).not_to include("immutable")
    server.stop
  end

  it "decides below which path everything is" do
    name = "application-#{'0a' * 32}.js"
    server = start_rails('config.relative_url_root = "/blog"', { "public/robots.txt" => "theirs", "public/assets/#{name}" => "1" })
    expect(server.get("/blog/robots.txt").body).to eq("theirs")
    expect(server.get("/blog/assets/#{name}")["cache-control"]).to include("immutable")
    server.stop
  end
end
