# frozen_string_literal: true

RSpec.describe "rails server in development" do
  before(:context) do
    @server = Harness::RailsServer.new(Harness::Bulletin.copy)
    @server.start
  end

  after(:context) do
    @server.stop
  ensure
    @server.destroy if @server.running?
  end

  attr_reader :server

  let(:visitor) { Harness::Visitor.new(server) }

  after { visitor.close }

  def sign_in(name = "Ada")
    visitor.visit("/session/new")
    visitor.submit("/session", "name" => name)
    expect(visitor.page.status).to eq(302), visitor.page.inspect
  end

  it "loads the application once" do
    server.get("/")
    server.get("/posts/1")
    expect(server.boots).to eq(1)
  end

  it "says that it is Passenger, although Puma is in the bundle" do
    eventually("the banner") { server.output.match?(/Booting Passenger application server/i) }
    eventually("the URL") { server.output.include?("http://127.0.0.1:#{server.port}") }
  end

  it "has one process with several threads" do
    expect(Array.new(10) { server.get("/probe/pid").body }.uniq.map(&:to_i)).to eq(server.workers)
    expect(server.workers.size).to eq(1)
  end

  it "shows the log in the terminal and in the log file" do
    server.get("/posts?marker=seen-in-the-log")
    [-> { server.output }, -> { server.rails_log }].each do |place|
      eventually("the line") { place.call.include?('Started GET "/posts?marker=seen-in-the-log"') }
    end
  end

  it "shows the index with its posts" do
    response = server.get("/")
    expect(response.status).to eq(200), response.inspect
    expect(response.body.scan(/<article/).size).to be > 3
  end

  it "keeps a session and takes a form with its token" do
    sign_in("Grace")
    expect(visitor.follow.body).to include("Welcome, Grace.")
    visitor.visit("/posts/1")
    visitor.submit("/posts/1/comments", "comment[body]" => "A comment from the specs: ä ö ü")
    expect(visitor.page.status).to eq(302)
    expect(visitor.visit("/posts/1").body).to include("A comment from the specs: ä ö ü", "Grace")
  end

  it "refuses a form without its token" do
    sign_in
    visitor.visit("/posts/1")
    visitor.send_form("/posts/1/comments", "comment[body]" => "forged")
    expect(visitor.page.status).to eq(422)
    expect(visitor.visit("/posts/1").body).not_to include("forged")
  end

  it "takes uploads and sends them back byte for byte" do
    content = Random.new(5).bytes(700_000)
    sign_in
    visitor.visit("/posts/new")
    visitor.submit_with_files("/posts", { "post[title]" => "With a file", "post[body]" => "text", "post[category]" => "news" },
                              "post[files][]" => ["data.bin", "application/octet-stream", content])
    expect(visitor.page.status).to eq(302), visitor.page.inspect
    path = visitor.follow.body[%r{/attachments/\d+}]
    response = visitor.visit(path)
    expect(response.status).to eq(200)
    expect(response["content-disposition"]).to include("data.bin")
    expect(response.body.b).to eq(content)
  end

  it "serves the JSON API" do
    posts = server.get("/api/posts").json.fetch("posts")
    expect(posts).not_to be_empty
    expect(server.get("/api/posts/#{posts.first["id"]}").json).to include("title" => posts.first["title"])
    created = server.post("/api/posts", JSON.generate(title: "Made by JSON", body: "text", author: "spec", category: "news"),
                          "Content-Type" => "application/json")
    expect(created.status).to eq(201), created.inspect
    expect(server.get(created["location"].sub(%r{\Ahttp://[^/]+}, "")).json).to include("title" => "Made by JSON")
    expect(server.get("/api/posts/0").status).to eq(404)
  end

  it "answers conditional requests with 304" do
    first = server.get("/api/posts/1")
    again = server.get("/api/posts/1", "If-None-Match" => first["etag"])
    expect(again.status).to eq(304)
  end

  it "serves the digested assets that the page names" do
    page = server.get("/").body
    stylesheet = page[%r{/assets/application-\h+\.css}]
    expect(server.get(stylesheet)).to have_attributes(status: 200)
    expect(server.get(stylesheet)["content-type"]).to start_with("text/css")
    script = page[%r{/assets/application-\h+\.js}]
    expect(server.get(script)).to have_attributes(status: 200)
  end

  it "serves the pages of the page cache without the application" do
    skip "actionpack-page_caching is not installed" unless Harness::Bulletin.gem?("actionpack-page_caching")
    expect(server.get("/highlights").status).to eq(200)
    eventually("the cached page") { File.exist?(File.join(server.directory, "public", "highlights.html")) }
    before = server.rails_log.scan('Started GET "/highlights"').size
    expect(server.get("/highlights").body).to eq(File.binread(File.join(server.directory, "public", "highlights.html")))
    expect(server.rails_log.scan('Started GET "/highlights"').size).to eq(before)
  end

  it "shows Rails' own error page" do
    response = server.get("/probe/failure")
    expect(response.status).to eq(500)
    expect(response.body).to include("the probe has failed")
  end

  it "loads changed code with the next request, without loading the application anew" do
    expect(server.get("/probe/version").body).to eq("first version")
    Harness::Bulletin.edit(server.directory, "app/controllers/probe_controller.rb") { |text| text.sub("first version", "second version") }
    eventually("the changed code") { server.get("/probe/version").body == "second version" }
  end

  it "tells the application about the start of its process" do
    worker = server.get("/probe/pid").body
    expect(server.events).to include("starting #{worker} true")
  end

  it "reads from several clients at once" do
    outcomes = Harness::Load.during(server, "/api/posts", connections: 8) { |load| load.wait_for(60) }
    expect(outcomes.map(&:kind).tally.keys).to eq([200])
  end
end

RSpec.describe "rails server" do
  def rails_server(*arguments, **options)
    Harness::RailsServer.new(Harness::Bulletin.copy, *arguments, **options).tap { |server| started << server }
  end

  it "loads fresh code after tmp/restart.txt, and ends all processes after TERM" do
    server = rails_server.start
    old = server.get("/probe/pid").body
    boots = server.boots
    FileUtils.touch(File.join(server.directory, "tmp", "restart.txt"))
    eventually("a new worker") { server.get("/probe/pid").body != old }
    expect(server.boots).to eq(boots + 1)
    eventually("the marked request in the terminal") do
      server.get("/?after=restart")
      server.output.include?("after=restart")
    end
    worker = server.get("/probe/pid").body
    server.stop
    expect(server.events).to include("stopping #{old}", "stopping #{worker}")
    expect(Dir.children(File.join(server.directory, "tmp", "pids"))).to eq([])
  end

  it "leaves no process behind when it is killed" do
    server = rails_server.start
    server.get("/")
    family = server.processes
    expect(family.size).to be >= 2
    server.signal(:KILL)
    server.wait
    eventually("end of its processes") { family.none? { |pid| Harness::ProcFS.alive?(pid) } }
    expect(server).not_to be_reachable
  end

  it "gets a new worker from a new preloader when both have been killed" do
    server = rails_server.start
    worker = server.get("/probe/pid").body.to_i
    preloader = server.processes.find { |pid| Harness::ProcFS.title(pid)&.start_with?("Passenger AppPreloader: ") }
    Process.kill(:KILL, preloader)
    eventually("end of the preloader") { !Harness::ProcFS.alive?(preloader) }
    expect(server.get("/probe/pid").body.to_i).to eq(worker)
    Process.kill(:KILL, worker)
    eventually("end of the worker") { !Harness::ProcFS.alive?(worker) }
    expect(server.get("/probe/pid").body.to_i).not_to eq(worker)
    expect(server.boots).to eq(2)
    server.stop
  end

  it "serves in production with its own static files" do
    server = rails_server("-e", "production", environment: { "RAILS_LOG_TO_STDOUT" => "1" })
    Harness::Bulletin.run(server.directory, "bundle", "exec", "rails", "db:prepare", "RAILS_ENV=production")
    server.start
    expect(server.get("/probe/environment").body).to start_with('["production", "production"')
    expect(server.get("/robots.txt").status).to eq(200)
    stylesheet = server.get("/").body[%r{/assets/application-\h+\.css}]
    expect(server.get(stylesheet).status).to eq(200)
    expect(server.get("/probe/failure").status).to eq(500)
    expect(server.boots).to eq(1)
    server.stop
  end

  it "starts Puma for -u puma" do
    skip "puma is not installed" unless Harness::Bulletin.gem?("puma")
    server = rails_server("-u", "puma").start
    expect(server.get("/probe/pid").body.to_i).to eq(server.pid)
    expect(server.output).to match(/Puma/)
    server.signal(:INT)
    server.wait
  end

  it "starts for -u passenger" do
    server = rails_server("-u", "passenger").start
    expect(server.get("/probe/pid").body.to_i).to eq(server.workers.first)
    server.stop
  end

  it "takes port and address from PORT and BINDING" do
    port = Harness::Server.free_port
    server = rails_server(:no_place, address: ["127.0.0.1", port], environment: { "PORT" => port.to_s, "BINDING" => "127.0.0.1" })
    server.start
    expect(server.get("/").status).to eq(200)
    server.stop
  end

  it "takes another rackup file with -c" do
    server = rails_server("-c", "other.ru")
    Harness::Apps.write(server.directory, "other.ru", <<~RUBY)
      require_relative "config/environment"
      map("/only-here") { run ->(_env) { [200, { "content-type" => "text/plain" }, ["from other.ru"]] } }
      run Rails.application
    RUBY
    server.start
    expect(server.get("/only-here").body).to eq("from other.ru")
    FileUtils.touch(File.join(server.directory, "tmp", "restart.txt"))
    eventually("a restart") { server.boots == 2 && server.get("/only-here").body == "from other.ru" }
    server.stop
  end

  it "writes its pid file where -P says, and removes it" do
    server = rails_server("-P", "tmp/pids/other.pid").start
    path = File.join(server.directory, "tmp/pids/other.pid")
    expect(File.read(path).to_i).to eq(server.pid)
    server.stop
    expect(File.exist?(path)).to be(false)
  end

  it "goes into the background with -d, serves there, and ends by its pid file" do
    server = rails_server("-d")
    result = run_command(server.argv, directory: server.directory, environment: server.environment)
    expect(result.status.exitstatus).to eq(0), result.to_s
    path = File.join(server.directory, "tmp/pids/server.pid")
    eventually("the pid file") { File.size?(path) }
    pid = File.read(path).to_i
    eventually(-> { "answer of the server in the background (#{Dir.glob("log/*", base: server.directory)})" }) { server.reachable? }
    expect(server.get("/probe/pid").status).to eq(200)
    family = Harness::ProcFS.descendants(pid)
    expect(family.size).to be >= 2
    Process.kill(:TERM, pid)
    eventually("end of the server", within: 35) { [pid, *family].none? { |member| Harness::ProcFS.alive?(member) } }
    expect(server).not_to be_reachable
    expect(File.exist?(path)).to be(false)
  ensure
    [pid, *family].compact.each { |member| Process.kill(:KILL, member) if Harness::ProcFS.alive?(member) }
  end

  it "says in one line that the port is taken" do
    TCPServer.open("127.0.0.1", 0) do |taken|
      port = taken.addr[1]
      server = rails_server(address: ["127.0.0.1", port])
      result = run_command(server.argv, directory: server.directory, environment: server.environment)
      expect(result.status.exitstatus).to eq(1), result.to_s
      expect((result.out + result.err).lines.grep(/#{port}.*(use|taken)|(use|taken).*#{port}/i)).not_to be_empty, result.to_s
      expect(result.out + result.err).not_to match(/\.rb:\d+:in /)
    end
  end
end
