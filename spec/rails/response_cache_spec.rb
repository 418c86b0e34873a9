# frozen_string_literal: true

# What Rails declares as public for some time is answered from memory.
RSpec.describe "the response cache of a Rails application" do
  CACHED = <<~'RUBY'
    class CachedController < ApplicationController
      layout "application"

      def shared
        expires_in 1.minute, public: true
        render plain: "shared #{SecureRandom.hex(8)} for #{request.host} #{params[:q]}"
      end

      # Public in name only: the session is written.
      def counted
        session[:count] = session[:count].to_i + 1
        expires_in 1.minute, public: true
        render plain: "visit #{session[:count]}"
      end

      # Public in name only: the page has the token of the visitor's session.
      def form
        expires_in 1.minute, public: true
        render inline: "<%= form_with url: '/probe/pid', local: true do %>a form<% end %>", layout: true
      end

      def greeting
        expires_in 1.minute
        render plain: "hello #{cookies[:name]}"
      end

      def members
        expires_in 1.minute, public: true
        authenticate_or_request_with_http_basic { |name, password| name == "ada" && password == "secret" }
        render plain: "for members" unless performed?
      end

      def unless_stale
        expires_in 1.minute, public: true
        render plain: "version 1, #{SecureRandom.hex(8)}" if stale?(etag: "version 1", public: true)
      end

      def fresh
        fresh_when etag: "version 1"
        render plain: "revalidated" unless performed?
      end

      def missing
        expires_in 1.minute, public: true
        render plain: "no such thing", status: 404
      end

      def failing
        expires_in 1.minute, public: true
        render plain: "failed", status: 500
      end
    end
  RUBY
  CACHED_APP = [{ "app/controllers/cached_controller.rb" => CACHED }].freeze
  # A controller says either "public" or "private"; what is mounted may say neither, and that is for visitors without cookies.
  CACHED_ROUTES = <<~'RUBY'
    get "cached/aged", to: ->(_env) { [200, { "content-type" => "text/plain", "cache-control" => "max-age=60" }, ["aged #{SecureRandom.hex(8)}"]] }
    get "cached/:action", controller: "cached"
  RUBY

  def asking(path, times)
    expect { yield }.to change { server.asked_for(path) }.by(times)
  end

  # The path in front of any query.
  def path_of(target)
    target[/\A[^?]+/]
  end

  def expect_miss(target, **headers)
    response = nil
    asking(path_of(target), 1) { response = server.get(target, **headers) }
    expect(response["age"]).to be_nil
    response
  end

  def expect_hit(target, **headers)
    response = nil
    asking(path_of(target), 0) { response = server.get(target, **headers) }
    expect(response["age"]).to match(/\A\d+\z/)
    response
  end

  def expect_kept(target, **headers)
    made = expect_miss(target, **headers)
    2.times { expect(expect_hit(target, **headers)).to have_attributes(status: made.status, body: made.body) }
    made
  end

  def expect_never_kept(target, times: 3, **headers)
    Array.new(times) { expect_miss(target, **headers) }
  end

  # A URL that no example has asked for yet.
  def unused(path = "/cached/shared")
    @queries = (@queries || 0) + 1
    "#{path}?q=#{@queries}-#{Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)}"
  end

  shared_examples "a response cache" do
    it "keeps what is public for a while" do
      target = unused
      made = expect_kept(target)
      expect(made["cache-control"]).to match(/public/).and match(/max-age=60/)
      expect(expect_hit(target)["cache-control"]).to eq(made["cache-control"])
      expect(expect_hit(target)["etag"]).to eq(made["etag"])
    end

    it "tells queries and hosts apart" do
      target = unused
      bodies = [expect_kept(target), expect_kept("#{target}&page=2"), expect_kept(target, "Host" => "other.example"),
                expect_kept(target, "Host" => "other.example:81")].map(&:body)
      expect(bodies.uniq.size).to eq(4)
      expect(bodies[2]).to include("for other.example")
    end

    it "never keeps what has a cookie for the visitor" do
      target = unused("/cached/counted")
      answers = expect_never_kept(target)
      expect(answers).to all(satisfy { |response| response["set-cookie"] && response.body == "visit 1" })
    end

    it "forgets a list when something is posted to it" do
      target = "/api/posts"
      server.post(target, JSON.generate(title: "First", body: "text", author: "spec", category: "news"), "Content-Type" => "application/json")
      expect(expect_kept(target).json.dig("posts", 0, "title")).to eq("First")
      created = server.post(target, JSON.generate(title: "Second", body: "text", author: "spec", category: "news"), "Content-Type" => "application/json")
      expect(created.status).to eq(201), created.inspect
      expect(expect_kept(target).json.dig("posts", 0, "title")).to eq("Second")
    end
  end

  describe "in production" do
    serve_bulletin(*CACHED_APP, routes: CACHED_ROUTES)

    include_examples "a response cache"

    it "keeps a list although something has been refused" do
      target = unused("/api/posts")
      expect_kept(target)
      refused = server.post(target, JSON.generate(title: "", body: "", author: "", category: "news"), "Content-Type" => "application/json")
      expect(refused.status).to eq(422), refused.inspect
      expect_hit(target)
    end

    it "keeps no page with a token of a session, and each visitor can use his own" do
      target = unused("/cached/form")
      tokens = expect_never_kept(target).map { |page| page.body[/name="authenticity_token" value="([^"]+)"/, 1] }
      expect(tokens.compact.uniq.size).to eq(3)
      visitors = Array.new(2) { Harness::Visitor.new(server) }
      visitors.each { |visitor| visitor.visit("/session/new") }
      visitors.each_with_index { |visitor, number| visitor.submit("/session", "name" => "Visitor #{number}") }
      visitors.each_with_index { |visitor, number| expect(visitor.follow.body).to include("Welcome, Visitor #{number}.") }
      visitors.each_with_index { |visitor, number| expect(visitor.visit("/posts/1").body).to include(%(visitor-name">Visitor #{number}<)) }
      expect(server.get("/posts/1").body).not_to include("visitor-name")
    ensure
      visitors&.each(&:close)
    end

    it "keeps no page that Rails says nothing about, nor a private one" do
      %w[/ /posts/1 /session/new /api/posts/1].each do |path|
        expect(expect_never_kept(path).map { |response| response["cache-control"] }).to all(match(/private|no-cache|max-age=0/))
      end
      expect(expect_never_kept(unused("/cached/greeting")).first["cache-control"]).to include("private", "max-age=60")
    end

    it "asks Rails for visitors with cookies, unless the response says that it is public" do
      aged = unused("/cached/aged")
      kept = expect_kept(aged)
      expect(expect_never_kept(aged, "Cookie" => "a=1").map(&:body)).not_to include(kept.body)
      expect_hit(aged)
      fresh = unused("/cached/aged")
      expect_never_kept(fresh, "Cookie" => "a=1")
      expect_kept(fresh)
    end

    it "asks Rails for who has an Authorization" do
      members = unused("/cached/members")
      ada = "Basic #{["ada:secret"].pack("m0")}"
      expect(expect_never_kept(members, "Authorization" => ada).map(&:body).uniq).to eq(["for members"])
      expect(server.get(members)).to have_attributes(status: 401)
      expect(server.get(members, "Authorization" => "Basic #{["eve:guess"].pack("m0")}")).to have_attributes(status: 401)
      expect_miss(members, "Authorization" => ada)
      target = unused
      expect_kept(target)
      expect_never_kept(target, "Authorization" => ada)
    end

    it "answers conditions from what it keeps" do
      target = unused
      made = expect_kept(target)
      expect(made["etag"]).not_to be_nil
      unchanged = expect_hit(target, "If-None-Match" => made["etag"])
      expect(unchanged).to have_attributes(status: 304, body: "")
      expect(unchanged["etag"]).to eq(made["etag"])
      expect(expect_hit(target, "If-None-Match" => 'W/"other"')).to have_attributes(status: 200, body: made.body)
    end

    it "answers HEAD from what it keeps" do
      target = unused
      made = expect_kept(target)
      asking(path_of(target), 0) do
        response = server.head(target)
        expect(response).to have_attributes(status: 200, body: "")
        expect(response["content-length"]).to eq(made.body.bytesize.to_s)
      end
    end

    it "keeps the whole answer of stale?, whoever asked first" do
      target = unused("/cached/unless_stale")
      made = expect_miss(target)
      expect(expect_hit(target, "If-None-Match" => made["etag"]).status).to eq(304)
      second = unused("/cached/unless_stale")
      expect(server.get(second, "If-None-Match" => made["etag"]).status).to eq(304)
      expect(server.get(second)).to have_attributes(status: 200).and satisfy { |response| response.body.start_with?("version 1") }
    end

    it "leaves fresh_when and stale? to Rails where nothing may be kept" do
      { "/cached/fresh" => "revalidated", "/api/posts/1" => nil }.each do |path, body|
        made = expect_miss(path)
        expect(made.body).to eq(body) if body
        asking(path, 1) { expect(server.get(path, "If-None-Match" => made["etag"])).to have_attributes(status: 304, body: "") }
      end
    end

    it "keeps a 404 that is public, and no 500" do
      expect(expect_kept(unused("/cached/missing")).status).to eq(404)
      expect(expect_never_kept(unused("/cached/failing")).map(&:status)).to eq([500] * 3)
    end

    it "keeps nothing that a client wants to have made anew" do
      target = unused
      kept = expect_kept(target)
      expect(expect_miss(target, "Cache-Control" => "no-cache").body).not_to eq(kept.body)
    end

    it "forgets everything with new code" do
      target = unused
      expect_kept(target)
      before = server.get("/probe/pid").body
      FileUtils.touch(File.join(server.directory, "tmp/restart.txt"))
      eventually("new processes") { server.get("/probe/pid").body.then { |pid| pid != before && server.workers.include?(pid.to_i) } }
      expect(server.get(target)["age"]).to be_nil
    end
  end

  describe "under rails server in production" do
    before(:context) do
      @server = Harness::RailsServer.new(Harness::Bulletin.production(*CACHED_APP, routes: CACHED_ROUTES), "-e", "production")
      @server.start
      @server.get("/probe/pid") # what was asked for before the application was loaded is not kept
    end

    after(:context) do
      @server&.stop
    ensure
      @server.destroy if @server&.running?
    end

    include_examples "a response cache"
  end

  shared_examples "no response cache" do
    it "asks Rails each time" do
      target = unused
      expect(expect_never_kept(target).map(&:body).uniq.size).to eq(3)
      expect_never_kept("/api/posts")
    end
  end

  { "--disable-turbocaching" => { disable_turbocaching: true }, "--no-turbocaching" => { turbocaching: false } }.each do |switch, option|
    describe "with #{switch}" do
      serve_bulletin(*CACHED_APP, routes: CACHED_ROUTES, **option)

      include_examples "no response cache"
    end
  end

  describe "in development" do
    before(:context) do
      @server = Harness::RailsServer.new(Harness::Bulletin.production(*CACHED_APP, routes: CACHED_ROUTES))
      @server.start
    end

    after(:context) do
      @server&.stop
    ensure
      @server.destroy if @server&.running?
    end

    include_examples "no response cache"
  end
end
