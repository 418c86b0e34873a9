# frozen_string_literal: true

RSpec.describe "an application that does not boot" do
  HELLO = <<~RUBY
    run ->(_env) { [200, { "content-type" => "text/plain" }, ["mended"]] }
  RUBY

  # Says that it has been loaded, and then breaks.
  def broken(code, files = {})
    Harness::Apps.directory("broken", { "config.ru" => <<~RUBY }.merge(files))
      File.write(File.join(__dir__, "boots"), "x", mode: "a")
      api_token = "tok-0123456789"
      #{code}
      run ->(_env) { [200, { "content-type" => "text/plain" }, ["never"]] }
    RUBY
  end

  def boots(server)
    File.size(File.join(server.directory, "boots"))
  end

  def mend(server)
    File.write(File.join(server.directory, "config.ru"), HELLO)
  end

  def start(directory, environment = "development", **options)
    start_server(directory, max_pool_size: 1, environment: { "RACK_ENV" => environment,
                                                             "DATABASE_URL" => "postgres://app:sesame-open@db.example/app" },
                            **options)
  end

  {
    "it raises" => ['raise ArgumentError, "the reason"', /ArgumentError/, /the reason/],
    "it has a syntax error" => ["def broken(", /SyntaxError/, /syntax error/],
    "a library is missing" => ['require "no_such_library_anywhere"', /LoadError/, /no_such_library_anywhere/],
    "a constant is missing" => ["NoSuchConstant.new", /NameError/, /NoSuchConstant/],
    "it exits" => ["exit 3", /exit/i, /exit|status 3/i],
    "it aborts" => ['abort "gave up"', /exit|abort/i, /exit|gave up|status 1/i],
    "it kills its process" => ["Process.kill(:KILL, Process.pid)", /preloader|process/i, /signal 9|KILL/i]
  }.each do |reason, (code, klass, message)|
    it "because #{reason} leaves the server up, with the reason on the page and in the log" do
      server = start(broken(code))
      response = server.get("/")
      expect(response.status).to eq(500)
      expect(response.body).to match(klass).and match(message)
      eventually("the reason in the log") { server.said.match?(message) }
      server.stop
    end
  end

  describe "in development" do
    it "shows message, backtrace and the source around the line" do
      server = start(broken("# a comment above\n#{"raise ArgumentError, 'the reason'"}\n# a comment below"))
      body = server.get("/").body
      expect(body).to include("ArgumentError", "the reason", "config.ru:4", "a comment above", "a comment below")
      server.stop
    end

    it "shows the source of the file that has the mistake, not of the one that loads it" do
      server = start(broken('require_relative "lib/part"', "lib/part.rb" => "# first line\nraise KeyError, 'deep reason'\n"))
      expect(server.get("/").body).to include("KeyError", "deep reason", "part.rb:2", "# first line")
      server.stop
    end

    it "hides secrets of the message, the source and the environment" do
      server = start(broken('raise "no connection to #{ENV["DATABASE_URL"]} with password=letmein-77"'))
      body = server.get("/").body
      expect(body).to include("no connection to", "config.ru:3")
      expect(body).not_to include("sesame-open")
      expect(body).not_to include("letmein-77")
      expect(body).not_to include("tok-0123456789")
      expect(server.said).not_to include("sesame-open")
      server.stop
    end

    it "cannot put markup on the page" do
      server = start(broken('raise "<script>alert(1)</script>"'))
      expect(server.get("/").body).not_to include("<script>alert")
      server.stop
    end

    it "is served as soon as it is mended and the page is loaded again" do
      server = start(broken('raise "the reason"'))
      expect(server.get("/").status).to eq(500)
      mend(server)
      eventually("the mended application") { server.get("/").body == "mended" }
      server.stop
    end
  end

  describe "in production" do
    it "shows a plain page with an error id that is in the log too" do
      server = start(broken('raise ArgumentError, "an internal reason"'), "production")
      response = server.get("/")
      expect(response.status).to eq(500)
      expect(response.body).not_to include("an internal reason", "ArgumentError", "config.ru", server.directory)
      id = response.body[/\b\h{8}\b/]
      expect(id).to be_a(String)
      eventually("the error id in the log") { server.said.include?(id) }
      expect(server.said).to include("an internal reason", "config.ru:3")
      server.stop
    end

    it "is tried again by itself, not for every request" do
      server = start(broken('raise "the reason"'), "production")
      expect(server.get("/").status).to eq(500)
      30.times { expect(server.get("/").status).to eq(500) }
      expect(boots(server)).to be < 15
      mend(server)
      eventually("the mended application", within: 60) { server.get("/").body == "mended" }
      server.stop
    end

    it "is served after it is mended and tmp/restart.txt is touched" do
      server = start(broken('raise "the reason"'), "production")
      expect(server.get("/").status).to eq(500)
      mend(server)
      FileUtils.touch(File.join(server.directory, "tmp", "restart.txt"))
      eventually("the mended application") { server.get("/").body == "mended" }
      server.stop
    end
  end

  it "because it takes longer than --start-timeout is given up" do
    server = start(broken("sleep"), start_timeout: 1)
    response = server.get("/")
    expect(response.status).to be_between(500, 504)
    eventually("the reason in the log") { server.said.match?(/start.?timeout|did not start|within 1/i) }
    server.stop
  end

  it "because its bundle is incomplete says which gem is missing" do
    directory = broken("", "Gemfile" => "source 'https://rubygems.invalid'\ngem 'no-such-gem-anywhere'\n")
    server = start(directory, bundled: false)
    response = server.get("/")
    expect(response.status).to eq(500)
    expect(response.body).to include("no-such-gem-anywhere")
    server.stop
  end

  it "can be stopped while it is still booting" do
    server = start(broken("sleep"))
    server.stop
  end

  it "answers many clients at once" do
    server = start(broken('raise "the reason"'))
    clients = Array.new(16) { server.connect.tap { |client| client.request("GET", "/") } }
    expect(clients.map { |client| client.read_response.status }).to all(eq(500))
    server.stop
  ensure
    clients&.each(&:close)
  end

  it "after a restart leaves the old code serving, with the reason in the log" do
    directory = Harness::Apps.directory("restarted", "config.ru" => HELLO)
    server = start(directory)
    expect(server.get("/").body).to eq("mended")
    File.write(File.join(directory, "config.ru"), "raise 'the new code is broken'")
    FileUtils.touch(File.join(directory, "tmp", "restart.txt"))
    eventually("the reason in the log") { server.said.include?("the new code is broken") }
    10.times { expect(server.get("/").body).to eq("mended") }
    server.stop
  end
end
