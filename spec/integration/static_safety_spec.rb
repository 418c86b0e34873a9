# frozen_string_literal: true

require_relative "../support/static_site"

# The application answers everything, so that "the server did not serve this" can be seen.
RSpec.describe "static files" do
  site = Harness::StaticSite
  secret = "KEEP-THIS-SECRET"

  # app/public is served; what lies beside it, and beside app, is not.
  def self.build(secret)
    base = Harness::Suite.new_directory("safety")
    %w[outside.txt outside.html].each { |name| File.write(File.join(base, name), secret) }
    app = File.join(base, "app")
    FileUtils.mkdir_p(app)
    FileUtils.cp(File.join(Harness::Apps::SOURCE, "canary.ru"), File.join(app, "config.ru"))
    %w[secret.txt secret.html secret].each { |name| File.write(File.join(app, name), secret) }
    Harness::StaticSite.write(File.join(app, "public"), "ok.txt" => "ok", "assets/app.css" => "css", "deep/er/page.html" => "page")
    app
  end

  # Either the application has answered, or the server has refused the request; nothing else, and no secret.
  def expect_harmless(response, secret)
    expect(response.body).not_to include(secret)
    expect(response.body).not_to match(/^root:/)
    expect(response).to by_app.or(have_attributes(status: a_value_between(400, 431)))
  end

  describe "outside of the directory" do
    serve build(secret), max_pool_size: 1

    up = { "dots" => "..", "escaped dots" => "%2e%2e", "dots escaped in capitals" => "%2E%2E", "half escaped dots" => ".%2e",
           "dots escaped twice" => "%252e%252e", "overlong dots" => "%c0%ae%c0%ae", "overlong dots of three bytes" => "%e0%80%ae%e0%80%ae",
           "full-width dots" => "%ef%bc%8e%ef%bc%8e", "dots with a parameter" => "..;x=1", "dots with a NUL byte" => "..%00",
           "dots with a line feed" => "..%0a", "dots with a space" => "..%20", "three dots" => "...", "%u escapes" => "%u002e%u002e",
           "broken escapes" => "%2e%2", "no escapes" => "%zz%zz" }
    slash = { "a slash" => "/", "an escaped slash" => "%2f", "a slash escaped in capitals" => "%2F", "a backslash" => "\\",
              "an escaped backslash" => "%5c", "a slash escaped twice" => "%252f", "an overlong slash" => "%c0%af", "two slashes" => "//" }
    up.each do |dots, above|
      it "cannot be reached by #{dots} and any kind of slash" do
        slash.each_value do |divider|
          ["", "/assets", "/deep/er", "/nowhere"].each do |start|
            depth = start.count("/") + 1
            { "secret.txt" => depth, "secret" => depth, "outside" => depth + 1, "etc/passwd" => depth + 20 }.each do |name, levels|
              target = "#{start}/#{"#{above}#{divider}" * levels}#{name.gsub("/", divider)}"
              expect_harmless(server.get(target), secret)
            end
          end
        end
      end
    end

    {
      "two slashes in front" => "//etc/passwd", "three slashes in front" => "///etc/passwd", "an escaped slash in front" => "/%2fetc/passwd",
      "two slashes in front and dots" => "//../secret.txt", "the way back through the directory's own name" => "/../public/../secret.txt",
      "dots at the end" => "/assets/..", "dots and a slash at the end" => "/assets/../", "a URL as path" => "/file:///etc/passwd",
      "an absolute target" => "http://localhost/../secret.txt", "an absolute target with more dots" => "http://localhost/../../outside.txt",
      "an absolute target with two slashes" => "http://localhost//etc/passwd", "an absolute target of another scheme" => "file:///etc/passwd",
      "an absolute target with escapes" => "http://localhost/%2e%2e/secret.txt", "a path in the query" => "/ok.css?/../secret.txt",
      "no slash in front" => "../secret.txt", "a name without a slash in front" => "ok.txt", "a home directory" => "/~root/.profile",
      "a process's files" => "/proc/self/environ"
    }.each do |sentence, target|
      it "cannot be reached by #{sentence}" do
        expect_harmless(server.get(target), secret)
      end
    end

    it "cannot be reached by any mixture of such things" do
      pieces = %w[/ / // .. .. . ... %2e %2E%2e %2f %2F %5c \\ %00 %0d%0a ; ? # %c0%ae %c0%af %252e %25 % assets deep er ok.txt secret.txt
                  secret outside outside.txt etc passwd public .html .gz]
      random = Random.new(RSpec.configuration.seed)
      2_000.times do
        target = "/#{Array.new(random.rand(1..9)) { pieces.sample(random: random) }.join}"
        response = server.get(target)
        expect(response.body).not_to include(secret), "#{target} gives #{response.inspect}"
        expect(response.body).not_to match(/^root:/)
        expect(response.status).to be < 500, "#{target} gives #{response.inspect}"
      end
    end
  end

  describe "by names that are nearly right" do
    serve build(secret), max_pool_size: 1

    it "are served by their name, also in the absolute form" do
      expect(server.get("/ok.txt").body).to eq("ok")
      expect(server.get("http://localhost/ok.txt").body).to eq("ok")
      expect(server.get("/%6f%6B.txt").body).to eq("ok")
    end

    %w[/ok.txt/ /ok.txt/. /ok.txt/.. /ok.txt. /ok.txt%20 /ok.txt%2f /ok.txt%5c /ok.txt// /ok.txt/x /ok.txt; /ok.txt;x /OK.TXT //ok.txt
       /./ok.txt /assets/../ok.txt /assets//app.css /assets/./app.css /assets%2fapp.css /assets /assets/ /deep /deep/er/ /ok /ok.txt::$DATA
       /%20ok.txt /ok%2etxt.].each do |target|
      it "are not found by #{target}" do
        expect(server.get(target)).to by_app
      end
    end

    it "are not found by names with a NUL byte" do
      %w[/ok.txt%00 /ok.txt%00.jpg /%00ok.txt /deep/er/page%00 /%00].each { |target| expect_harmless(server.get(target), "ok\n") }
    end

    it "are not found by names that are too long for any file" do
      ["/#{"a" * 255}", "/#{"a" * 256}", "/#{"a" * 300}", "/#{"a" * 4096}", "/#{"a/" * 2500}b", "/deep#{"/er" * 1500}/x.txt"].each do |target|
        expect(server.get(target)).to by_app
      end
      expect_harmless(server.get("/#{"a" * 60_000}"), secret)
      expect_harmless(server.get("/#{"%61" * 20_000}"), secret)
    end
  end

  describe "with unusual names" do
    names = {
      "a b.txt" => "/a%20b.txt", "a+b.txt" => "/a+b.txt", "100%.txt" => "/100%25.txt", "%41.txt" => "/%2541.txt", "who?.txt" => "/who%3F.txt",
      "no#1.txt" => "/no%231.txt", "a&b=c.txt" => "/a&b=c.txt", "semi;colon.txt" => "/semi;colon.txt", "quo\"te'.txt" => "/quo%22te'.txt",
      "Grüße.txt" => "/Gr%C3%BC%C3%9Fe.txt", "日本語.txt" => "/%e6%97%a5%e6%9c%ac%e8%aa%9e.txt", "\xFCber.txt" => "/%FCber.txt",
      "new\nline.txt" => "/new%0Aline.txt", "[brackets]{braces}.txt" => "/[brackets]%7Bbraces%7D.txt", "a:b@c,d!$~*().txt" => "/a:b@c,d!$~*().txt",
      "trailing." => "/trailing.", "two..dots.txt" => "/two..dots.txt", "-dash.txt" => "/-dash.txt",
      "#{"n" * 251}.txt" => "/#{"n" * 251}.txt", "sub dir/über/x.txt" => "/sub%20dir/%C3%BCber/x.txt"
    }

    serve(Harness::StaticSite.directory(names.keys.to_h { |name| [name, "content of #{name}".b] }), max_pool_size: 1)

    names.each do |name, target|
      it "are served: #{name.inspect[0, 60]}" do
        expect(server.get(target)).to have_attributes(status: 200, body: "content of #{name}".b)
      end
    end

    it "are not confused with one another" do
      expect(server.get("/a%2Bb.txt").body).to eq("content of a+b.txt")
      expect(server.get("/a%20b.txt?x=1").body).to eq("content of a b.txt")
      ["/A.txt", "/a%2520b.txt", "/sub%20dir%2F%C3%BCber%2Fx.txt", "/semi", "/100%.txt"].each { |target| expect_harmless(server.get(target), "content of") }
    end
  end

  describe "that begin with a dot" do
    hidden = %w[.env .htaccess .git/config a/.git/config ..env .hidden.html a/.hidden.html .well-known/.secret .well-known/.a/b
                a/.well-known/x .well-knownx/y .DS_Store assets/.sprockets-manifest-0123456789abcdef0123456789abcdef.json]
    shown = { ".well-known/security.txt" => "public", ".well-known/acme-challenge/token" => "token", ".well-known/app.html" => "page" }
    serve(Harness::StaticSite.directory(hidden.to_h { |name| [name, "hidden"] }.merge(shown)), max_pool_size: 1)

    hidden.each do |name|
      it "are hidden: #{name}" do
        ["/#{name}", "/#{name.gsub(".", "%2e")}", "/#{name.delete_suffix(".html")}"].each { |target| expect(server.get(target)).to by_app }
      end
    end

    shown.each do |name, content|
      it "are served below /.well-known: #{name}" do
        expect(server.get("/#{name}")).to have_attributes(status: 200, body: content)
        expect(server.get("/#{name.sub(".", "%2E")}").body).to eq(content)
      end
    end

    it "are no directories to look into" do
      %w[/.well-known /.well-known/ /.git /.git/ /. /.. /./ /%2e /%2e%2e].each { |target| expect_harmless(server.get(target), "hidden") }
    end
  end

  describe "that are no regular files" do
    before(:context) do
      directory = site.directory({ "ok.txt" => "ok", "foo.html/inner.txt" => "inner", "dir.txt/x" => "x" })
      public_directory = File.join(directory, "public")
      File.mkfifo(File.join(public_directory, "fifo.txt"))
      File.mkfifo(File.join(public_directory, "page.html"))
      @socket = UNIXServer.new(File.join(public_directory, "socket.txt"))
      %w[/dev/zero /dev/null /dev/tty].each { |device| File.symlink(device, File.join(public_directory, "#{File.basename(device)}.txt")) }
      # A device of its own needs root, and a file system that allows devices.
      @device = system("mknod", File.join(public_directory, "device.txt"), "c", "1", "5", err: File::NULL)
      @server = Harness.server(directory, max_pool_size: 1).start
    end

    after(:context) do
      @socket.close
      File.delete(File.join(@server.directory, "public/socket.txt"))
      @server.stop
    ensure
      @server.destroy if @server.running?
    end

    { "a FIFO" => "/fifo.txt", "a FIFO that would be a cached page" => "/page", "a socket" => "/socket.txt",
      "a link to a device without end" => "/zero.txt", "a link to a device that is empty" => "/null.txt",
      "a link to the terminal" => "/tty.txt", "a directory with an extension" => "/foo.html",
      "a directory that would be a cached page" => "/foo", "a directory with a slash" => "/dir.txt/" }.each do |kind, target|
      it "are the application's to answer: #{kind}" do
        %w[GET HEAD].each { |method| expect(ask(server, method, target)).to by_app }
      end
    end

    it "are the application's to answer: a device" do
      skip "devices cannot be made here (no root, or a file system that forbids them)" unless @device

      expect(server.get("/device.txt")).to by_app
    end

    it "do not keep the others from being served" do
      expect(server.get("/ok.txt").body).to eq("ok")
      expect(server.get("/foo.html/inner.txt").body).to eq("inner")
    end
  end

  describe "that the server may not read" do
    # Root reads everything, unless the privilege to do so has been given away.
    LESS_PRIVILEGE = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"].freeze

    def less_privilege
      return [] unless Process.uid.zero?

      skip "root cannot give its privileges away here" unless system(*LESS_PRIVILEGE, "true", err: File::NULL)
      LESS_PRIVILEGE
    end

    it "are the application's to answer, and so are those in directories that may not be searched" do
      skip "SPEC_SERVER" if ENV.key?("SPEC_SERVER")

      directory = site.directory({ "ok.txt" => "ok", "closed.txt" => secret, "closed/inner.txt" => secret, "page.html" => secret })
      closed = %w[closed.txt closed page.html].map { |name| File.join(directory, "public", name) }
      closed.each { |path| File.chmod(0, path) }
      started << Harness.server(directory, max_pool_size: 1)
      server = started.last
      server.argv.unshift(*less_privilege)
      server.start
      expect(server.get("/ok.txt").body).to eq("ok")
      %w[/closed.txt /closed/inner.txt /page /page.html].each { |target| expect(server.get(target)).to by_app }
      File.chmod(0o644, closed.first)
      expect(server.get("/closed.txt").body).to eq(secret)
      server.stop
    ensure
      closed&.each { |path| File.chmod(0o755, path) }
    end
  end
end
