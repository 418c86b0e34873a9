# frozen_string_literal: true

RSpec.describe "passenger start on the command line" do
  let(:directory) { Harness::Apps.hello }

  def passenger(*arguments, **options)
    run_command(Harness::PassengerServer.command(*arguments), directory: directory, **options)
  end

  def here
    ["--address", "127.0.0.1", "--port", Harness::Server.free_port]
  end

  describe "ends with exit code 1 and one line that says what is wrong" do
    after { expect(Harness::ProcFS.children(Process.pid).select { |pid| Harness::ProcFS.title(pid)&.include?(directory) }).to eq([]) }

    it "when the port is taken" do
      TCPServer.open("127.0.0.1", 0) do |taken|
        port = taken.addr[1]
        expect(passenger("start", "--address", "127.0.0.1", "--port", port)).to be_one_line_error.naming(port.to_s)
      end
    end

    it "when the address is not this machine's" do
      expect(passenger("start", "--address", "192.0.2.1", "--port", Harness::Server.free_port)).to be_one_line_error.naming("192.0.2.1")
    end

    it "when there is no config.ru" do
      File.delete(File.join(directory, "config.ru"))
      expect(passenger("start", *here)).to be_one_line_error.naming("config.ru")
    end

    it "when config.ru cannot be read" do
      File.delete(File.join(directory, "config.ru"))
      Dir.mkdir(File.join(directory, "config.ru"))
      expect(passenger("start", *here)).to be_one_line_error.naming("config.ru")
    end

    it "when the directory does not exist" do
      expect(passenger("start", "/nonexistent/app", *here)).to be_one_line_error.naming("/nonexistent/app")
    end

    it "when the rackup file does not exist" do
      expect(passenger("start", *here, "--rackup", "other.ru")).to be_one_line_error.naming("other.ru")
    end

    it "when an option is unknown, with what may have been meant" do
      expect(passenger("start", "--max-pol-size", 3)).to be_one_line_error.naming("--max-pol-size").naming("--max-pool-size")
    end

    it "when an option's value is none" do
      expect(passenger("start", "--max-pool-size", "many")).to be_one_line_error.naming("--max-pool-size").naming("many")
      expect(passenger("start", "--port", "70000")).to be_one_line_error.naming("--port").naming("70000")
      expect(passenger("start", "--max-pool-size", "0")).to be_one_line_error.naming("--max-pool-size")
    end

    it "when a pattern of assets is no regular expression" do
      expect(passenger("start", *here, "--asset-patterns", "^/ok$", "--asset-patterns", "^{assets}/(?=x)"))
        .to be_one_line_error.naming("asset_patterns").naming("^{assets}/(?=x)")
    end

    it "when a mapping of X-Accel-Redirect lacks its directory or its prefix" do
      %w[/srv/files srv/files=/files /srv/files=files].each do |mapping|
        expect(passenger("start", *here, "--x-accel-mappings", mapping)).to be_one_line_error.naming("x_accel_mappings").naming(mapping)
      end
    end

    it "when a size or a level is out of its limits" do
      expect(passenger("start", "--static-cache-size", "64M")).to be_one_line_error.naming("--static-cache-size").naming("megabytes")
      expect(passenger("start", "--gzip-level", "10")).to be_one_line_error.naming("--gzip-level").naming("1 to 9")
    end

    it "when a variable's value is none" do
      expect(passenger("start", environment: { "PASSENGER_MAX_POOL_SIZE" => "many" }))
        .to be_one_line_error.naming("PASSENGER_MAX_POOL_SIZE").naming("many")
    end

    it "when both a socket and a port are given" do
      expect(passenger("start", "--socket", "x.sock", "--port", "3000")).to be_one_line_error.naming("socket")
    end

    it "when there are two directories" do
      expect(passenger("start", directory, directory)).to be_one_line_error
    end

    it "when the log file cannot be written" do
      expect(passenger("start", *here, "--log-file", "/nonexistent/server.log")).to be_one_line_error.naming("/nonexistent/server.log")
    end

    it "when the command is unknown" do
      expect(passenger("strat")).to be_one_line_error.naming("strat")
    end
  end

  describe "explains itself" do
    [[], ["help"], ["--help"], ["-h"], ["start", "--help"], ["help", "start"]].each do |arguments|
      it "with #{["passenger", *arguments].join(" ")}" do
        result = passenger(*arguments)
        expect(result.status.exitstatus).to eq(0), result.to_s
        expect(result.out).to include("start")
        expect(result.err).to eq("")
      end
    end

    it "with every option and its default" do
      help = passenger("start", "--help").out
      %w[--address --port --socket --environment --rackup --max-pool-size --min-instances --thread-count --log-file
         --pid-file --static-files-dir].each { |option| expect(help).to include(option) }
      expect(help).to include("0.0.0.0", "3000", "6")
    end

    [["--version"], ["-v"], ["version"]].each do |arguments|
      it "with the version for passenger #{arguments.first}" do
        expect(passenger(*arguments).out).to match(/\b7\.0\.0\b/)
      end
    end
  end

  describe "takes its settings" do
    it "from the command line before the environment, and ignores empty variables" do
      port = Harness::Server.free_port
      server = start_server(directory, port: port, max_pool_size: 2, min_instances: 2,
                                       environment: { "PASSENGER_PORT" => "1", "PASSENGER_ADDRESS" => "",
                                                      "PASSENGER_MAX_POOL_SIZE" => "1" })
      expect(server.get("/").body).to eq("hello")
      eventually("two workers") { server.workers.size == 2 }
      server.stop
    end

    it "with -e for the application's environment" do
      directory = Harness::Apps.directory("environment", "config.ru" => <<~RUBY)
        run ->(_env) { [200, { "content-type" => "text/plain" }, [ENV.values_at("RAILS_ENV", "RACK_ENV").inspect]] }
      RUBY
      server = start_server(directory, environment: { "RACK_ENV" => "test" }, max_pool_size: 1)
      expect(server.get("/").body).to eq('["test", "test"]')
      server.stop
    end

    it "with the switches and lists for files, compression and caches" do
      server = start_server(directory, max_pool_size: 1, environment: {
        "PASSENGER_ASSET_PATTERNS" => "^/a/ ^/b/", "PASSENGER_STATIC_SYMLINK_DIRS" => "/srv/a:/srv/b", "PASSENGER_PAGE_CACHING" => "no",
        "PASSENGER_TURBOCACHE_SIZE" => "1", "PASSENGER_X_ACCEL_MAPPINGS" => "/srv/a=/a /srv/b=/b", "PASSENGER_COMPRESSION" => "off"
      })
      expect(server.get("/").body).to eq("hello")
      server.stop
    end

    it "with Passenger's switch for turning the response cache off" do
      port = Harness::Server.free_port
      command = Harness::PassengerServer.command("start", "--address", "127.0.0.1", "--port", port, "--disable-turbocaching",
                                                 "--sendfile-dirs", "/srv/a", "--sendfile-dirs", "files")
      server = Harness::Server.new(command, address: ["127.0.0.1", port], directory: directory, name: "passenger")
      started << server
      server.start
      expect(server.get("/").body).to eq("hello")
      server.stop
    end

    it "with another rackup file, and relative paths from where it is started" do
      Harness::Apps.write(directory, "other/app.ru", File.read(File.join(directory, "config.ru")).sub("hello", "other"))
      server = start_server(directory, rackup: "other/app.ru", max_pool_size: 1)
      expect(server.get("/").body).to eq("other")
      server.stop
    end
  end

  describe "says on standard output" do
    it "where it listens, in plain text when that is no terminal" do
      server = start_server(directory, max_pool_size: 1)
      eventually("the URL") { server.output.include?("http://127.0.0.1:#{server.port}/") }
      expect(server.output).not_to include("\e[")
      server.stop
    end

    it "what the application and the server log, without --log-file" do
      directory = Harness::Apps.directory("control")
      port = Harness::Server.free_port
      command = Harness::PassengerServer.command("start", "--address", "127.0.0.1", "--port", port, "--max-pool-size", 1)
      server = Harness::Server.new(command, address: ["127.0.0.1", port], directory: directory, name: "passenger")
      started << server
      server.start
      server.get("/say?text=to-the-terminal")
      eventually("the application's lines") { server.output.include?("stdout to-the-terminal") && server.output.include?("stderr to-the-terminal") }
      server.stop
      expect(Dir.children(directory).sort).to eq(%w[config.ru public tmp])
    end
  end

  describe "serves static files" do
    it "from public without asking the application" do
      directory = Harness::Apps.directory("control", "public/robots.txt" => "static text", "public/sub/a b.txt" => "spaced")
      server = start_server(directory, max_pool_size: 1)
      response = server.get("/robots.txt")
      expect(response).to have_attributes(status: 200, body: "static text")
      expect(response["content-type"]).to start_with("text/plain")
      expect(server.get("/sub/a%20b.txt").body).to eq("spaced")
      expect(server.get("/sub").body).to eq("GET /sub")
      expect(server.get("/missing.txt").body).to eq("GET /missing.txt")
      server.stop
    end

    it "from --static-files-dir" do
      directory = Harness::Apps.directory("control", "site/robots.txt" => "from the site", "public/robots.txt" => "not this")
      server = start_server(directory, max_pool_size: 1, static_files_dir: "site")
      expect(server.get("/robots.txt").body).to eq("from the site")
      server.stop
    end

    it "and never from outside of that directory" do
      directory = Harness::Apps.directory("control", "secret.txt" => "secret", "public/robots.txt" => "public")
      server = start_server(directory, max_pool_size: 1)
      %w[/../secret.txt /%2e%2e/secret.txt /..%2fsecret.txt //../secret.txt /robots.txt/../../secret.txt /%2e%2e%2fsecret.txt
         /..%5csecret.txt /.%00./secret.txt].each do |path|
        expect(server.get(path).body).not_to eq("secret"), path
      end
      server.stop
    end
  end
end
