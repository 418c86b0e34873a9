# frozen_string_literal: true

require_relative "../support/static_site"

# Files that the application names: as a body that responds to to_path, with X-Sendfile, and with X-Accel-Redirect.
RSpec.describe "files that the application sends" do
  site = Harness::StaticSite
  content = site.noise(100_000)
  text = "0123456789" * 300

  def self.application
    Harness::Apps.directory("sendfile").tap do |app|
      Harness::StaticSite.write(app, "files/data.bin" => Harness::StaticSite.noise(100_000), "files/notes.txt" => "0123456789" * 300,
                                     "files/page.html" => "<p>page</p>", "files/empty.pdf" => "", "files/a b %41 ü.txt" => "odd name",
                                     "files/sub/inner.txt" => "inner", "protected/below.txt" => "below", "files/large.bin" => Harness::StaticSite.noise(5_000_000))
    end
  end

  def file(name)
    File.join(server.directory, "files", name)
  end

  def target(how, path, **more)
    "/?#{URI.encode_www_form_component(JSON.generate({ how: how, path: path }.merge(more)))}"
  end

  # with: the client's headers; given: those of the application
  def send_file(how, name, with: {}, method: "GET", given: {}, status: 200)
    path = name.start_with?("/") ? name : file(name)
    ask(server, method, target(how, path, headers: given, status: status), with)
  end

  ways = ["to_path", "X-Sendfile", "x-sendfile"]

  describe "by" do
    serve application, max_pool_size: 1
    before(:context) { site.settle(file("large.bin")) }

    ways.each do |how|
      describe how do
        define_method(:sent) { |name, **rest| send_file(how, name, **rest) }

        it "arrive whole, with their length" do
          { "data.bin" => content, "notes.txt" => text, "empty.pdf" => "", "sub/inner.txt" => "inner" }.each do |name, expected|
            response = sent(name)
            expect(response).to have_attributes(status: 200, framing: :length)
            expect(response.body == expected).to be(true)
            expect(response["content-length"]).to eq(expected.bytesize.to_s)
          end
        end

        it "arrive whole when they are large, one after the other on a connection" do
          server.connect do |client|
            3.times do
              expect(Digest::SHA256.hexdigest(client.get(target(how, file("large.bin"))).body)).to eq(Digest::SHA256.hexdigest(site.noise(5_000_000)))
              expect(client.get(target(how, file("notes.txt"))).body).to eq(text)
            end
          end
        end

        it "answer HEAD with the length alone" do
          expect(sent("data.bin", method: "HEAD")).to have_attributes(status: 200, body: "")
          expect(sent("data.bin", method: "HEAD")["content-length"]).to eq("100000")
        end

        it "have ranges" do
          { "bytes=0-9" => content[0, 10], "bytes=-10" => content[-10..], "bytes=99990-" => content[-10..] }.each do |range, bytes|
            response = sent("data.bin", with: { "Range" => range })
            expect(response).to have_attributes(status: 206, body: bytes)
            expect(response["content-range"]).to match(%r{\Abytes \d+-\d+/100000\z})
          end
          expect(sent("data.bin", with: { "Range" => "bytes=100000-" })).to have_attributes(status: 416)
          several = sent("data.bin", with: { "Range" => "bytes=0-4,50-54" })
          expect(several.status).to eq(206)
          expect(site.parts(several).map(&:last)).to eq([content[0, 5], content[50, 5]])
        end

        it "have the validators of the file, and their conditions" do
          response = sent("data.bin")
          expect(response["last-modified"]).to eq(site::OLD.httpdate)
          expect(response["etag"]).to match(/\A"[^"]+"\z/)
          expect(response["accept-ranges"]).to eq("bytes")
          expect(sent("data.bin", with: { "If-None-Match" => response["etag"] })).to have_attributes(status: 304, body: "")
          expect(sent("data.bin", with: { "If-Modified-Since" => site::OLD.httpdate }).status).to eq(304)
          expect(sent("data.bin", with: { "If-None-Match" => '"other"' }).status).to eq(200)
          expect(sent("data.bin", with: { "If-Match" => '"other"' }).status).to eq(412)
          expect(sent("data.bin", with: { "Range" => "bytes=0-9", "If-Range" => response["etag"] }).status).to eq(206)
          expect(sent("data.bin", with: { "Range" => "bytes=0-9", "If-Range" => '"other"' }).status).to eq(200)
        end

        it "keep the application's validators, and have its conditions" do
          given = { "etag" => '"the-app"', "last-modified" => "Sun, 06 Nov 1994 08:49:37 GMT" }
          response = sent("data.bin", given: given)
          expect(response.all("etag")).to eq(['"the-app"'])
          expect(response.all("last-modified")).to eq([given["last-modified"]])
        end

        it "keep the application's headers" do
          given = { "content-type" => "application/x-own", "content-disposition" => 'attachment; filename="r.csv"', "set-cookie" => "a=1; path=/",
                    "cache-control" => "private, max-age=3", "x-own" => "yes" }
          server.connect do |client|
            response = client.get(target(how, file("notes.txt"), headers: given))
            expect(response).to have_attributes(status: 200, body: text)
            given.each { |name, value| expect(response.all(name)).to eq([value]) }
          end
        end

        it "have the type of their name where the application gives none" do
          { "notes.txt" => "text/plain; charset=utf-8", "page.html" => "text/html; charset=utf-8", "empty.pdf" => "application/pdf",
            "data.bin" => "application/octet-stream" }.each { |name, type| expect(sent(name)["content-type"]).to eq(type) }
        end

        it "have any name" do
          expect(sent("a b %41 ü.txt").body).to eq("odd name")
        end

        [201, 404, 403, 500, 299].each do |status|
          it "keep the status #{status}, without ranges and conditions" do
            response = sent("notes.txt", status: status)
            expect(response).to have_attributes(status: status, body: text)
            expect(sent("notes.txt", status: status, with: { "Range" => "bytes=0-9" })).to have_attributes(status: status, body: text)
            expect(sent("notes.txt", status: status, with: { "If-None-Match" => "*" })).to have_attributes(status: status, body: text)
          end
        end

        it "never show the header that names them" do
          [{}, { "Range" => "bytes=0-9" }, { "If-None-Match" => "*" }, { "Range" => "bytes=999999-" }].each do |headers|
            expect(sent("data.bin", with: headers).header_lines.map(&:first)).not_to include("x-sendfile", "x-accel-redirect")
          end
        end
      end
    end

    # With to_path a wrong length is the application's error (see responses_spec.rb).
    it "of X-Sendfile have a length of their own, whatever the application says" do
      response = send_file("X-Sendfile", "notes.txt", given: { "content-length" => "26" })
      expect(response).to have_attributes(status: 200, body: text)
      expect(response.all("content-length")).to eq(["3000"])
    end

    def answer(given, headers)
      sent_target = target("X-Sendfile", file("data.bin"), headers: given)
      server.connect { |client| client.get(sent_target, **headers) }
    end

    it "have conditions on the application's entity tag" do
      given = { "etag" => '"the-app"' }
      expect(answer(given, {})).to have_attributes(status: 200)
      expect(answer(given, {}).all("etag")).to eq(['"the-app"'])
      expect(answer(given, "If-None-Match" => '"the-app"').status).to eq(304)
      expect(answer(given, "If-None-Match" => '"other"').status).to eq(200)
      expect(answer(given, "Range" => "bytes=0-9", "If-Range" => '"the-app"').status).to eq(206)
      expect(answer(given, "Range" => "bytes=0-9", "If-Range" => '"other"').status).to eq(200)
      expect(answer({ "etag" => 'W/"weak"' }, "Range" => "bytes=0-9", "If-Range" => 'W/"weak"').status).to eq(200)
    end

    it "have conditions on the application's time" do
      given = { "last-modified" => "Sun, 06 Nov 1994 08:49:37 GMT" }
      expect(answer(given, "If-Modified-Since" => "Sun, 06 Nov 1994 08:49:37 GMT").status).to eq(304)
      expect(answer(given, "If-Modified-Since" => "Sun, 06 Nov 1994 08:49:36 GMT").status).to eq(200)
      expect(answer(given, {}).all("last-modified")).to eq(["Sun, 06 Nov 1994 08:49:37 GMT"])
    end

    it "may be deleted by the application when the response is done" do
      server.connect do |client|
        [1, 100_000, 3_000_000].each do |size|
          response = client.get(target("temporary", nil, size: size))
          expect(response.status).to eq(200)
          expect(response.body == "t" * size).to be(true)
        end
      end
      eventually("end of the temporary files") { Dir.glob("download*", base: Harness::Suite.temporary_files).empty? }
    end

    it "are closed once each, also when they are not sent" do
      closed = File.join(server.directory, "closed")
      FileUtils.rm_f(closed)
      server.connect do |client|
        client.get(target("to_path", file("data.bin")))
        client.get(target("to_path", file("data.bin")), "If-None-Match" => "*")
        client.head(target("to_path", file("data.bin")))
        client.get(target("to_path", file("data.bin")), "Range" => "bytes=0-0")
      end
      eventually("four closed bodies") { File.exist?(closed) && File.readlines(closed).size >= 4 }
      expect(File.readlines(closed).size).to eq(4)
    end

    it "of to_path may lie anywhere: the application has opened them" do
      elsewhere = Harness::Apps.write(Harness::Suite.new_directory("elsewhere"), "file.txt", "elsewhere")
      expect(send_file("to_path", elsewhere).body).to eq("elsewhere")
    end

    it "of X-Sendfile may lie in the directory for temporary files" do
      path = File.join(Harness::Suite.temporary_files, "export.csv")
      File.write(path, "a,b\n")
      expect(send_file("X-Sendfile", path).body).to eq("a,b\n")
    ensure
      File.delete(path)
    end
  end

  describe "and that the server does not send" do
    serve application, max_pool_size: 1, environment: { "RACK_ENV" => "production" }
    secret = "KEEP-THIS-SECRET"

    def expect_refused(response)
      expect(response.status).to be_between(403, 502)
      expect(response.body).not_to match(/KEEP-THIS-SECRET|^root:|the application's own body/)
      expect(response.header_lines.map(&:first)).not_to include("x-sendfile", "x-accel-redirect", "etag", "last-modified")
    end

    before(:context) do
      @elsewhere = Harness::Suite.new_directory("elsewhere")
      File.write(File.join(@elsewhere, "file.txt"), secret)
      File.symlink(File.join(@elsewhere, "file.txt"), File.join(server.directory, "files/link.txt"))
      FileUtils.mkdir_p("#{server.directory}-neighbour")
      File.write("#{server.directory}-neighbour/file.txt", secret)
      File.mkfifo(File.join(server.directory, "files/fifo"))
    end

    {
      "in a directory that is not allowed" => ->(app, elsewhere) { "#{elsewhere}/file.txt" },
      "in a directory whose name begins like an allowed one" => ->(app, _) { "#{app}-neighbour/file.txt" },
      "above an allowed directory" => ->(app, elsewhere) { "#{app}/../#{File.basename(elsewhere)}/file.txt" },
      "at the end of a symbolic link that leads elsewhere" => ->(app, _) { "#{app}/files/link.txt" },
      "of the system" => ->(*) { "/etc/passwd" },
      "of a process" => ->(*) { "/proc/self/environ" }
    }.each do |where, path|
      it "are an error when they lie #{where}; the log names the option" do
        before = server.said.bytesize
        expect_refused(server.get(target("X-Sendfile", path.call(server.directory, @elsewhere))))
        eventually("a line in the log") { server.said.byteslice(before..).match?(/sendfile.dirs/) }
      end
    end

    {
      "do not exist" => "files/nothing.txt", "are directories" => "files", "are FIFOs" => "files/fifo", "have a relative name" => nil,
      "have an empty name" => ""
    }.each do |what, name|
      it "are an error when they #{what}" do
        path = name.nil? ? "files/notes.txt" : (name.empty? ? "" : File.join(server.directory, name))
        response = server.get(target("X-Sendfile", path))
        expect_refused(response)
      end
    end

    it "are an error for HEAD, ranges and conditions as well" do
      path = target("X-Sendfile", "/etc/passwd")
      expect(server.head(path).status).to be >= 400
      [{ "Range" => "bytes=0-9" }, { "If-None-Match" => "*" }, { "If-Modified-Since" => Time.now.httpdate }].each do |headers|
        expect_refused(server.get(path, **headers))
      end
    end

    it "leave the connection in order" do
      server.connect do |client|
        3.times { client.get(target("X-Sendfile", "/etc/passwd")) }
        expect(client.get(target("X-Sendfile", file("notes.txt"))).body).to eq("0123456789" * 300)
        expect(client.stray_bytes).to eq("")
      end
    end

    it "are an error with X-Accel-Redirect without a mapping; the log names the option" do
      expect_refused(server.get(target("X-Accel-Redirect", "/files/notes.txt")))
      eventually("a line in the log") { server.said.match?(/x.accel.mappings/) }
    end
  end

  describe "with --sendfile-dirs" do
    it "lie in these directories alone" do
      allowed = Harness::Suite.new_directory("allowed")
      File.write(File.join(allowed, "file.txt"), "allowed")
      app = self.class.application
      server = start_server(app, max_pool_size: 1, sendfile_dirs: [allowed, Harness::Suite.new_directory("second")])
      expect(server.get(target("X-Sendfile", File.join(allowed, "file.txt"))).body).to eq("allowed")
      expect(server.get(target("X-Sendfile", File.join(app, "files/notes.txt"))).status).to be >= 400
      expect(server.get(target("to_path", File.join(app, "files/notes.txt"))).status).to eq(200)
      server.stop
    end
  end

  describe "with X-Accel-Redirect" do
    before(:context) do
      app = self.class.application
      Harness::StaticSite.write(app, "other/x.txt" => "other", "files-too/x.txt" => "KEEP-THIS-SECRET", "secret.txt" => "KEEP-THIS-SECRET")
      @server = Harness.server(app, max_pool_size: 1, x_accel_mappings: ["#{app}/files=/protected", "#{app}/other/=/other/files/"]).start
      site.settle(File.join(app, "secret.txt"))
    end

    after(:context) do
      @server.stop
    ensure
      @server.destroy if @server.running?
    end

    def accel(uri, **rest)
      send_file("X-Accel-Redirect", uri, **rest)
    end

    it "are found by their mapping" do
      expect(accel("/protected/notes.txt")).to have_attributes(status: 200, body: text)
      expect(accel("/protected/sub/inner.txt").body).to eq("inner")
      expect(accel("/other/files/x.txt").body).to eq("other")
      expect(accel("/protected/notes.txt?token=1").status).to be_between(200, 500)
    end

    it "have percent escapes in their names" do
      expect(accel("/protected/a%20b%20%2541%20%C3%BC.txt").body).to eq("odd name")
      expect(accel("/protected/%6eotes.txt").body).to eq(text)
    end

    it "have ranges, conditions, type, and the application's headers" do
      response = accel("/protected/notes.txt", with: { "Range" => "bytes=0-9" })
      expect(response).to have_attributes(status: 206, body: "0123456789")
      expect(response["content-type"]).to eq("text/plain; charset=utf-8")
      expect(accel("/protected/notes.txt", with: { "If-Modified-Since" => site::OLD.httpdate }).status).to eq(304)
      kept = server.get(target("X-Accel-Redirect", "/protected/notes.txt", headers: { "content-disposition" => "attachment", "set-cookie" => "a=1" }))
      expect([kept["content-disposition"], kept["set-cookie"]]).to eq(%w[attachment a=1])
      expect(kept.header_lines.map(&:first)).not_to include("x-accel-redirect")
    end

    %w[/protected/../secret.txt /protected/%2e%2e/secret.txt /protected/..%2fsecret.txt /protected/sub/../../secret.txt
       /protected-too/x.txt /protected%2f..%2fsecret.txt /protected/%00 /secret.txt /etc/passwd //etc/passwd /protected//etc/passwd
       /protected /protected/ /protected/nothing.txt protected/notes.txt /other/x.txt ../secret.txt].each do |uri|
      it "are not found by #{uri}" do
        response = accel(uri)
        expect(response.status).to be_between(400, 502)
        expect(response.body).not_to match(/KEEP-THIS-SECRET|^root:|own body/)
        expect(response.header_lines.map(&:first)).not_to include("x-accel-redirect")
      end
    end

    {
      "without a mapping" => ["nonsense"], "with a relative prefix" => ["/srv=protected"], "with an empty directory" => ["=/protected"]
    }.each do |what, mappings|
      it "are refused at the start #{what}" do
        result = run_command(Harness::PassengerServer.command("start", "--port", Harness::Server.free_port, *mappings.flat_map { |one| ["--x-accel-mappings", one] }),
                             directory: Harness::Apps.hello)
        expect(result).to be_one_line_error.naming(/x.accel.mappings/)
      end
    end
  end

  describe "cannot be asked for by the client:" do
    serve application, max_pool_size: 1, environment: { "WITH_RACK_SENDFILE" => "yes" }

    { "X-Sendfile-Type" => "X-Accel-Redirect", "X-Accel-Mapping" => "/etc/=/files/", "x-sendfile-type" => "X-Lighttpd-Send-File",
      "X_SENDFILE_TYPE" => "X-Accel-Redirect", "X-Accel-Redirect" => "/etc/passwd", "X-Sendfile" => "/etc/passwd" }.each do |name, value|
      it "#{name} does nothing" do
        expected = server.get("/env").json.slice("HTTP_X_SENDFILE_TYPE", "sendfile.type", "HTTP_X_ACCEL_MAPPING")
        given = server.get("/env", name => value).json.slice("HTTP_X_SENDFILE_TYPE", "sendfile.type", "HTTP_X_ACCEL_MAPPING")
        expect(given).to eq(expected)
        expect(given).not_to have_key("HTTP_X_ACCEL_MAPPING")
        response = server.get(target("to_path", file("notes.txt")), name => value)
        expect(response).to have_attributes(status: 200, body: text)
        expect(response.header_lines.map(&:first)).not_to include("x-accel-redirect", "x-sendfile", "x-lighttpd-send-file")
      end
    end

    it "Rack::Sendfile leaves bodies with to_path to the server, wherever the files lie" do
      expect(server.get("/env").json).to include("HTTP_X_SENDFILE_TYPE" => "X-Sendfile", "sendfile.type" => "")
      elsewhere = Harness::Apps.write(Harness::Suite.new_directory("elsewhere"), "file.txt", "elsewhere")
      expect(server.get(target("to_path", elsewhere)).body).to eq("elsewhere")
    end
  end
end
