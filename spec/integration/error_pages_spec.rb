# frozen_string_literal: true

require_relative "../support/static_site"

# public/500.html and its like, which people keep there for the moments in which their application cannot answer.
RSpec.describe "error pages of the application" do
  production = { "RACK_ENV" => "production" }
  pages = { "public/500.html" => "<h1>our 500 page</h1>", "public/503.html" => "<h1>our 503 page</h1>", "public/404.html" => "<h1>our 404 page</h1>",
            "public/422.html" => "<h1>our 422 page</h1>" }

  # Answers /status?code=N with that status and a text of its own, or none; what control.ru does for the rest.
  def self.control(files)
    text = File.read(File.join(Harness::Apps::SOURCE, "control.ru"))
    text += <<~'RUBY'
      answer = lambda do |env|
        query = Rack::Utils.parse_query(env["QUERY_STRING"])
        [query["code"].to_i, { "content-type" => "text/plain" }, query["text"] ? [query["text"]] : []]
      end
      sent = ->(_) { [200, { "x-sendfile" => "/etc/passwd" }, []] }
      application = @run
      run ->(env) { { "/status" => answer, "/forbidden" => sent }.fetch(env["PATH_INFO"], application).call(env) }
    RUBY
    Harness::Apps.directory("control", { "config.ru" => text }.merge(files))
  end

  def expect_page(response, status, text)
    expect(response).to have_attributes(status: status, body: text)
    expect(response["content-type"]).to match(%r{\Atext/html})
    expect(response["content-length"]).to eq(text.bytesize.to_s)
    # Nobody may keep it, nor take it for the page that was asked for.
    expect(response.header_lines.map(&:first)).not_to include("etag", "last-modified", "accept-ranges", "expires")
    expect(response["cache-control"].to_s).not_to match(/public|immutable|max-age=[1-9]/)
  end

  describe "in production" do
    serve control(pages), max_pool_size: 1, environment: production

    it "stand for an application that raises" do
      expect_page(server.get("/raise?message=secret+reason"), 500, "<h1>our 500 page</h1>")
    end

    it "stand for a process that has died, with its status; the page of 500 stands in for one that is missing" do
      expect_page(server.get("/die"), 502, "<h1>our 500 page</h1>")
    end

    it "are the same for whoever sends conditions and ranges" do
      [{ "If-None-Match" => "*" }, { "Range" => "bytes=0-3" }, { "If-Modified-Since" => Time.now.httpdate }, { "If-Match" => '"x"' }].each do |headers|
        expect_page(server.get("/raise?message=x", **headers), 500, "<h1>our 500 page</h1>")
      end
    end

    it "answer HEAD with the length alone, and leave the connection in order" do
      server.connect do |client|
        expect(client.head("/raise?message=x")).to have_attributes(status: 500, body: "")
        expect(client.get("/raise?message=x").body).to eq("<h1>our 500 page</h1>")
        expect(client.post("/raise?message=x", "body").body).to eq("<h1>our 500 page</h1>")
        expect(client.get("/version").status).to eq(200)
        expect(client.stray_bytes).to eq("")
      end
    end

    it "stand for a file that may not be sent" do
      response = server.get("/forbidden")
      expect(response.status).to be >= 400
      expect(["<h1>our 500 page</h1>", "<h1>our 404 page</h1>"]).to include(response.body)
    end

    it "take no place of what the application says itself" do
      [404, 422, 500, 502, 503].each do |status|
        expect(server.get("/status?code=#{status}&text=own")).to have_attributes(status: status, body: "own")
        expect(server.get("/status?code=#{status}")).to have_attributes(status: status, body: "")
      end
      expect(server.get("/nothing").status).to eq(200)
    end

    it "are ordinary files when they are asked for by name" do
      expect(server.get("/500.html")).to have_attributes(status: 200, body: "<h1>our 500 page</h1>")
      expect(server.get("/404")).to have_attributes(status: 200, body: "<h1>our 404 page</h1>")
    end

    it "are those that lie there at the moment" do
      path = File.join(server.directory, "public/500.html")
      original = File.read(path)
      File.write(path, "changed page")
      expect(server.get("/raise?message=x").body).to eq("changed page")
      File.delete(path)
      fallback = server.get("/raise?message=x")
      expect(fallback.status).to eq(500)
      expect(fallback.body).not_to include("changed page", "our ")
      expect(fallback.body).not_to be_empty
      File.mkfifo(path)
      expect(server.get("/raise?message=x").status).to eq(500)
      File.delete(path)
      File.symlink("/etc/passwd", path)
      expect(server.get("/raise?message=x").body).not_to match(/^root:/)
    ensure
      FileUtils.rm_f(path)
      File.write(path, original)
    end
  end

  it "stand for an application that does not boot" do
    app = Harness::Apps.directory("broken", { "config.ru" => 'raise "no boot"' }.merge(pages))
    server = start_server(app, max_pool_size: 1, environment: production)
    expect_page(server.get("/"), 500, "<h1>our 500 page</h1>")
    expect(server.get("/503.html").status).to eq(200)
    server.stop
  end

  it "stand for a queue that is full" do
    server = start_server(Harness::Apps.directory("control", pages), max_pool_size: 1, max_request_queue_size: 1, environment: production)
    gate = new_gate
    held = hold(gate, server: server)
    wait_until_entered(gate, server: server)
    answers = Queue.new
    waiting = Array.new(6) { server.connect.tap { |client| client.request("GET", "/version") } }
    threads = waiting.map { |client| Thread.new { answers << client.read_response } }
    response = eventually("a refused request") { answers.pop(true) unless answers.empty? }
    expect_page(response, 503, "<h1>our 503 page</h1>")
    open_gate(gate, server: server)
    expect(held.read_response.status).to eq(200)
    threads.each(&:join)
    server.stop
  ensure
    [held, *waiting].compact.each(&:close)
  end

  it "are not shown in development, where the reason is" do
    server = start_server(self.class.control(pages), max_pool_size: 1, environment: { "RACK_ENV" => "development" })
    response = server.get("/raise?message=the+reason")
    expect(response.status).to eq(500)
    expect(response.body).to include("the reason")
    expect(response.body).not_to include("our 500 page")
    expect(server.get("/die").body).not_to include("our 500 page")
    server.stop
  end

  it "are shown or not as --friendly-error-pages says" do
    { true => "development", false => "production" }.each do |shown, opposite|
      server = start_server(self.class.control(pages), max_pool_size: 1, friendly_error_pages: !shown, environment: { "RACK_ENV" => opposite })
      expect(server.get("/raise?message=x").body.include?("our 500 page")).to be(shown)
      server.stop
    end
  end

  it "are looked for in --static-files-dir" do
    app = self.class.control(pages.merge("web/500.html" => "page of web"))
    server = start_server(app, max_pool_size: 1, static_files_dir: "web", environment: production)
    expect_page(server.get("/raise?message=x"), 500, "page of web")
    server.stop
  end

  it "are not needed" do
    server = start_server(self.class.control({}), max_pool_size: 1, environment: production)
    response = server.get("/raise?message=secret+reason")
    expect(response.status).to eq(500)
    expect(response["content-type"]).to match(%r{\Atext/html})
    expect(response.body).not_to include("secret reason")
    expect(response.body).not_to be_empty
    server.stop
  end
end
