# frozen_string_literal: true

require "zlib"

RSpec.describe "the page cache of a Rails application" do
  before(:context) { skip "actionpack-page_caching is not installed" unless Harness::Bulletin.gem?("actionpack-page_caching") }

  # Pages of numbered versions. Whoever reads a version, makes the page of it and writes that page keeps the next version from being
  # published meanwhile: otherwise the application itself would write an old page after its expiry.
  VERSIONS = <<~'RUBY'
    class VersionsController < ActionController::Base
      skip_forgery_protection
      around_action :hold_version, only: :show
      caches_page :show, gzip: true

      FILE = Rails.root.join("tmp/version")

      def show
        version = File.read(FILE).to_i
        render html: "<b #{version}>#{"version #{version} " * 3000}<e #{version}>".html_safe
      end

      def create
        File.open(FILE, File::RDWR) do |file|
          file.flock(File::LOCK_EX)
          version = file.read.to_i + 1
          file.rewind
          file.write(version.to_s)
          file.flush
          expire_page("/versions")
          render plain: version.to_s
        end
      end

      private

      def hold_version
        File.open(FILE) do |file|
          file.flock(File::LOCK_SH)
          yield
        end
      end
    end
  RUBY

  def cached_file(name = "highlights.html")
    File.join(server.directory, "public", name)
  end

  def visiting
    visitor = Harness::Visitor.new(server)
    yield visitor
  ensure
    visitor&.close
  end

  def sign_in(visitor, name)
    visitor.visit("/session/new")
    visitor.submit("/session", "name" => name)
    expect(visitor.page.status).to eq(302), visitor.page.inspect
  end

  def pin_up(visitor, title)
    visitor.visit("/posts/new")
    visitor.submit("/posts", "post[title]" => title, "post[body]" => "text", "post[category]" => "event")
    expect(visitor.page.status).to eq(302), visitor.page.inspect
    visitor.page["location"][%r{/posts/\d+\z}]
  end

  # Both answers to who comes after a change: the first is Rails', the second the server's.
  def expect_made_anew(path = "/highlights", including:, **headers)
    first = server.get(path, **headers)
    expect(first).to have_attributes(status: 200).and come_from_rails
    expect(first.body.force_encoding("UTF-8")).to include(*including)
    expect_cached(path, first.body, **headers)
  end

  def expect_cached(path, body, **headers)
    response = nil
    expect { response = server.get(path, **headers) }.not_to(change { server.asked_for(path) })
    expect(response).to have_attributes(status: 200)
    expect(response).not_to come_from_rails
    expect(response.body.b == body.b).to be(true)
    response
  end

  def forget_pages
    FileUtils.rm_f(Dir.glob(cached_file("highlights.*")))
  end

  shared_examples "a page cache" do
    it "has the first answer from Rails, and all further ones without it" do
      forget_pages
      page = nil
      expect { page = server.get("/highlights") }.to change { server.asked_for("/highlights") }.by(1)
      expect(page).to have_attributes(status: 200).and come_from_rails
      expect(File.binread(cached_file) == page.body).to be(true)
      3.times { expect(expect_cached("/highlights", page.body)["content-type"]).to eq("text/html; charset=utf-8") }
    end

    it "has fresh pages with the very next request after a form has been sent" do
      visiting do |visitor|
        sign_in(visitor, "Mira")
        server.get("/highlights")
        path = pin_up(visitor, "Lantern walk at dusk")
        expect(File.exist?(cached_file)).to be(false)
        expect_made_anew(including: ["Lantern walk at dusk"])
        expect_made_anew("/highlights.json", including: ["Lantern walk at dusk"])

        visitor.visit("#{path}/edit")
        visitor.submit(path, "_method" => "patch", "post[title]" => "Lantern walk at dawn", "post[body]" => "text", "post[category]" => "event")
        expect(visitor.page.status).to eq(302), visitor.page.inspect
        expect_made_anew(including: ["Lantern walk at dawn"])
        expect_made_anew("/highlights.json", including: ["Lantern walk at dawn"])

        visitor.visit(path)
        visitor.submit("#{path}/comments", "comment[body]" => "Shall we bring soup?")
        expect(visitor.page.status).to eq(302), visitor.page.inspect
        expect_made_anew(including: ["Shall we bring soup?"])
      end
    end
  end

  describe "under passenger start" do
    serve_bulletin({ "app/controllers/versions_controller.rb" => VERSIONS, "tmp/version" => "0" },
                   routes: 'resource :versions, only: %i[show create]', thread_count: 3)

    include_examples "a page cache"

    it "has pages compressed by the application" do
      forget_pages
      page = server.get("/highlights")
      expect(page).to come_from_rails
      twin = File.binread(cached_file("highlights.html.gz"))
      # A file that has just been written beside another one is noticed within a second.
      Harness.eventually("using the twin") { server.get("/highlights", "Accept-Encoding" => "gzip").body.b == twin }
      compressed = expect_cached("/highlights", twin, "Accept-Encoding" => "gzip")
      expect(compressed["content-encoding"]).to eq("gzip")
      expect(compressed["vary"]).to match(/\baccept-encoding\b/i)
      expect(Zlib.gunzip(compressed.body) == page.body).to be(true)
      expect(expect_cached("/highlights", page.body)["vary"]).to match(/\baccept-encoding\b/i)
    end

    it "has JSON beside HTML, each with its type" do
      forget_pages
      json = server.get("/highlights.json")
      html = server.get("/highlights")
      expect([json, html]).to all(come_from_rails)
      expect(expect_cached("/highlights.json", json.body)["content-type"]).to start_with("application/json")
      expect(expect_cached("/highlights", html.body)["content-type"]).to start_with("text/html")
      expect(server.get("/highlights.json").json.fetch("discussed")).not_to be_empty
    end

    it "does not care for queries" do
      forget_pages
      page = server.get("/highlights")
      expect_cached("/highlights?utm_source=letter", page.body)
      expect_cached("/highlights?page=2&page=3", page.body)
    end

    it "answers conditions, ranges and HEAD" do
      forget_pages
      page = server.get("/highlights").body
      # Until some time has passed, another page could have the same validators.
      etag = eventually("the entity tag") { server.get("/highlights")["etag"] }
      expect do
        expect(server.get("/highlights", "If-None-Match" => etag)).to have_attributes(status: 304, body: "")
        expect(server.get("/highlights", "Range" => "bytes=0-8")).to have_attributes(status: 206, body: page[0, 9])
        expect(server.head("/highlights")["content-length"]).to eq(page.bytesize.to_s)
      end.not_to(change { server.asked_for("/highlights") })
    end

    it "leaves other methods to Rails" do
      server.get("/highlights")
      expect(File.exist?(cached_file)).to be(true)
      expect { expect(server.post("/highlights", "a=b")).to have_attributes(status: 404).and come_from_rails }
        .to change { server.asked_for("/highlights") }.by(1)
    end

    it "keeps neither pages that fail nor pages of visitors" do
      expect(server.get("/posts/0")).to have_attributes(status: 404).and come_from_rails
      2.times { expect(server.get("/posts/0")).to come_from_rails }
      2.times { expect(server.get("/posts/1")).to have_attributes(status: 200).and come_from_rails }
      expect(Dir.glob("posts*", base: File.join(server.directory, "public"))).to eq([])
    end

    # A reader: asks again and again, on one connection, and notes what must not be.
    def read_versions(compressed, published, complaints, tally)
      headers = compressed ? { "Accept-Encoding" => "gzip" } : {}
      server.connect do |client|
        until published[:done]
          oldest = published[:version]
          response = client.get("/versions", **headers)
          body = response["content-encoding"] == "gzip" ? Zlib.gunzip(response.body) : response.body
          version = body[/\A<b (\d+)>/, 1].to_i
          complaints << "status #{response.status}: #{response.inspect}" unless response.status == 200
          complaints << "version #{version} after #{oldest} was published" if version < oldest
          complaints << "not a whole page: #{body[0, 40].inspect} … #{body[-40..].inspect}" unless body == "<b #{version}>#{"version #{version} " * 3000}<e #{version}>"
          tally << (response["x-runtime"] ? :rails : :server)
        end
      end
    rescue StandardError => e
      complaints << "#{e.class}: #{e.message}"
    end

    it "never gives an expired page nor a part of one, however many read while it changes" do
      published = { version: server.post("/versions", "").body.to_i }
      complaints = Queue.new
      tally = Queue.new
      readers = Array.new(8) { |number| Thread.new { read_versions(number.odd?, published, complaints, tally) } }
      server.connect do |client|
        100.times do
          published[:version] = client.post("/versions", "").body.to_i
          3.times { expect(client.get("/versions").body[/\A<b (\d+)>/, 1].to_i).to eq(published[:version]) }
        end
      end
      published[:done] = true
      readers.each(&:join)
      expect(Array.new(complaints.size) { complaints.pop }).to eq([])
      by = Array.new(tally.size) { tally.pop }.tally
      expect(by[:server].to_i).to be > 100
      expect(by[:rails].to_i).to be > 0
    ensure
      published[:done] = true if published
      readers&.each(&:join)
    end
  end

  describe "under rails server in production" do
    before(:context) do
      @server = Harness::RailsServer.new(Harness::Bulletin.production, "-e", "production")
      @server.start
    end

    after(:context) do
      @server&.stop
    ensure
      @server.destroy if @server&.running?
    end

    include_examples "a page cache"
  end
end
