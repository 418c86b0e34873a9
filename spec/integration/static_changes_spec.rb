# frozen_string_literal: true

require_relative "../support/static_site"

# Whatever happens to a file has its effect on the very next request. Nothing here waits for a clock to tick: that is the point.
RSpec.describe "static files that change" do
  site = Harness::StaticSite
  rounds = 200

  def path(name = "file.txt")
    File.join(server.directory, "public", name)
  end

  def expect_content(client, target, content)
    response = client.get(target)
    expect(response.status).to eq(200)
    expect(response.body == content).to be(true), "#{target} has #{response.body[0, 60].inspect} instead of #{content[0, 60].inspect}"
    response
  end

  describe "while nobody is served" do
    serve "canary", max_pool_size: 1

    # Of one length for all rounds, so that the length tells nothing; more than one page.
    def numbered(round, size = 5000)
      format("round %08d ", round).ljust(size, Digest::SHA256.hexdigest(round.to_s))
    end

    # What is done => how, with the path and the new content
    {
      "written anew in place" => ->(path, content) { File.binwrite(path, content) },
      "written anew in place without being emptied before" => ->(path, content) { File.open(path, File::WRONLY | File::CREAT) { |file| file.write(content) } },
      "replaced by another file" => ->(path, content) { File.binwrite("#{path}.new", content) && File.rename("#{path}.new", path) },
      "removed and written again" => lambda { |path, content|
        FileUtils.rm_f(path)
        File.binwrite(path, content)
      },
      "written anew with the old time of modification" => lambda { |path, content|
        File.binwrite(path, content)
        File.utime(site::OLD, site::OLD, path)
      },
      "replaced by another file of the same time of modification" => lambda { |path, content|
        File.binwrite("#{path}.new", content)
        File.utime(site::OLD, site::OLD, "#{path}.new")
        File.rename("#{path}.new", path)
      },
      "written piece by piece" => lambda { |path, content|
        file = File.open(path, File::RDWR | File::CREAT)
        content.bytes.each_slice(1000).with_index { |slice, index| file.pwrite(slice.pack("C*"), index * 1000) }
        file.close
      }
    }.each do |what, change|
      it "are seen when #{what}, with the same length and at once" do
        server.connect do |client|
          rounds.times do |round|
            content = numbered(round)
            change.call(path, content)
            expect_content(client, "/file.txt", content)
            expect(client.head("/file.txt")["content-length"]).to eq(content.bytesize.to_s)
          end
        end
      end
    end

    it "are seen when they grow and when they are cut off" do
      server.connect do |client|
        content = +"start"
        rounds.times do |round|
          if round.odd?
            File.write(path, " and round #{round}", mode: "ab")
            content << " and round #{round}"
          else
            File.truncate(path, content.bytesize / 2) if File.exist?(path)
            File.binwrite(path, content) unless round.positive?
            content = content[0, content.bytesize / 2] if round.positive?
          end
          expect_content(client, "/file.txt", content)
        end
      end
    end

    it "are seen when they come and go" do
      server.connect do |client|
        rounds.times do |round|
          content = numbered(round, 100)
          File.binwrite(path("transient.txt"), content)
          expect_content(client, "/transient.txt", content)
          File.delete(path("transient.txt"))
          expect(client.get("/transient.txt")).to by_app
        end
      end
    end

    it "are seen when they have been in the server's memory" do
      %w[hot.txt hot.html].each do |name|
        target = "/#{name}"
        site.write(File.dirname(path), { name => "hot content" })
        server.connect do |client|
          20.times do
            100.times { expect_content(client, target, "hot content") }
            File.rename(path(name), path("away"))
            expect(client.get(target)).to by_app
            File.rename(path("away"), path(name))
            expect_content(client, target, "hot content")
          end
          File.write(path(name), "other stuff")
          File.utime(site::OLD, site::OLD, path(name))
          expect_content(client, target, "other stuff")
        end
      end
    end

    it "do not keep their entity tag or their time" do
      server.connect do |client|
        seen = {}
        rounds.times do |round|
          content = numbered(round, 64)
          File.binwrite(path("tagged.txt"), content)
          3.times do
            response = expect_content(client, "/tagged.txt", content)
            tag = response["etag"] or next
            expect(seen.fetch(tag, content)).to eq(content)
            seen[tag] = content
          end
        end
      end
    end

    # A validator that would not tell this content from the next one is held back, but not for longer than that.
    it "have a tag and a time in the end, also if they were asked for before" do
      File.binwrite(path("young.txt"), "young")
      server.connect do |client|
        %w[etag last-modified].each { |name| eventually("#{name} of a file that was new") { client.get("/young.txt")[name] } }
      end
    end

    it "are never said to be unmodified when they have been" do
      server.connect do |client|
        validators = {}
        rounds.times do |round|
          content = numbered(round, 64)
          File.binwrite(path("validated.txt"), content)
          response = client.get("/validated.txt", **validators)
          expect(response).to have_attributes(status: 200, body: content)
          validators = { "If-None-Match" => response["etag"], "If-Modified-Since" => response["last-modified"] }.compact
        end
      end
    end

    it "are not served while somebody writes them" do
      site.write(File.dirname(path), { "busy.txt" => "complete", "busy.html" => "complete" })
      server.connect do |client|
        %w[/busy.txt /busy.html /busy].each do |target|
          file = path(target.end_with?("txt") ? "busy.txt" : "busy.html")
          expect_content(client, target, "complete")
          File.open(file, "r+b") do |writer|
            writer.write("partial!")
            writer.flush
            expect(client.get(target)).to by_app
          end
          File.write(file, "complete")
          expect_content(client, target, "complete")
        end
      end
    end

    it "are served while somebody reads them" do
      site.write(File.dirname(path), { "read.txt" => "complete" })
      File.open(path("read.txt")) { |_| expect(server.get("/read.txt").body).to eq("complete") }
    end

    it "do not stop writers" do
      site.write(File.dirname(path), { "contested.txt" => "0" * 100_000 })
      Harness::Load.during(server, "/contested.txt", connections: 4) do |load|
        load.wait_for(20)
        100.times { |round| File.binwrite(path("contested.txt"), round.to_s.rjust(100_000, "0")) }
        load.wait_for(20)
      end
      expect(File.binread(path("contested.txt"))).to eq("99".rjust(100_000, "0"))
      expect(server.get("/contested.txt").body).to eq("99".rjust(100_000, "0"))
    end
  end

  describe "while they are sent" do
    serve "canary", max_pool_size: 1

    # Far more than the sockets' buffers hold.
    size = 50_000_000

    # A client that has read the head of the response, and a little of the body.
    def begin_download(name)
      client = server.connect(receive_buffer: 4096)
      client.request("GET", "/#{name}")
      expect(client.read_status_line[1]).to eq(200)
      expect(client.read_headers.to_h["content-length"]).to eq(File.size(path(name)).to_s)
      [client, client.read_exactly(1000)]
    end

    # What comes of so many bytes.
    def read_up_to(client, length)
      client.read_exactly(length)
    rescue Harness::HTTPClient::ConnectionEnded
      client.read_to_end
    end

    # Pages of the file may be on their way without having been copied. Of a page through which the cut goes the kernel would
    # clear the rest, on its way or not; so the cut is at the end of the largest pages that there are.
    it "break the connection off when they are cut off" do
      content = site.noise(size)
      cut = 2 << 20
      site.write(File.dirname(path), { "large.bin" => content })
      client, received = begin_download("large.bin")
      File.truncate(path("large.bin"), cut)
      received << client.read_to_end
      expect(received.bytesize).to be < size
      expect(content.start_with?(received)).to be(true)
      expect(server.get("/large.bin").body.bytesize).to eq(cut)
    ensure
      client&.close
    end

    { "removed" => ->(path) { File.delete(path) },
      "replaced" => ->(path) { File.write("#{path}.new", "new") && File.rename("#{path}.new", path) } }.each do |what, change|
      it "are sent to their end when they are #{what}" do
        content = site.noise(size)
        site.write(File.dirname(path), { "large.bin" => content })
        client, received = begin_download("large.bin")
        change.call(path("large.bin"))
        received << client.read_exactly(size - received.bytesize)
        expect(received == content).to be(true)
        expect(client.get("/#{what}")).to by_app
      ensure
        client&.close
      end
    end

    it "are never sent in a mixture of two versions that looks complete" do
      versions = %w[a b].map { |letter| letter * size }
      File.binwrite(path("mixed.bin"), versions[0])
      client, received = begin_download("mixed.bin")
      File.binwrite(path("mixed.bin"), versions[1])
      received << read_up_to(client, size - received.bytesize)
      expect(received.bytesize < size || versions.include?(received)).to be(true)
    ensure
      client&.close
    end
  end

  describe "with their directory" do
    def directory_without_public
      Harness::Apps.directory("canary").tap { |path| Dir.rmdir(File.join(path, "public")) }
    end

    it "are served as soon as the directory is there" do
      server = start_server(directory_without_public, max_pool_size: 1)
      expect(server.get("/late.txt")).to by_app
      Harness::Apps.write(server.directory, "public/late.txt", "late")
      expect(server.get("/late.txt").body).to eq("late")
      server.stop
    end

    it "are those of the directory that has taken its place" do
      server = start_server(site.directory({ "which.txt" => "first", "only-first.txt" => "first" }), max_pool_size: 1)
      public_directory = File.join(server.directory, "public")
      5.times { expect(server.get("/which.txt").body).to eq("first") }
      site.write("#{public_directory}.new", { "which.txt" => "other" })
      File.rename(public_directory, "#{public_directory}.old")
      expect(server.get("/which.txt")).to by_app
      File.rename("#{public_directory}.new", public_directory)
      expect(server.get("/which.txt").body).to eq("other")
      expect(server.get("/only-first.txt")).to by_app
      server.stop
    end

    it "are those of the new release once the application has restarted, and shared assets of the old pages stay" do
      deploy = Harness::Suite.new_directory("deploy")
      digested = { "1" => "/assets/app-#{"1" * 32}.css", "2" => "/assets/app-#{"2" * 32}.css" }
      releases = digested.to_h do |number, asset|
        release = File.join(deploy, "releases", number)
        site.write(release, "config.ru" => "run ->(_env) { [200, { 'x-app' => 'yes' }, ['release #{number}']] }",
                            "public/which.txt" => "release #{number}", "public/only-#{number}.txt" => number)
        site.write(File.join(deploy, "shared/public"), { asset[1..] => "asset of #{number}" })
        FileUtils.mkdir_p(File.join(release, "tmp"))
        File.symlink("../../../shared/public/assets", File.join(release, "public", "assets"))
        [number, release]
      end
      current = File.join(deploy, "current")
      File.symlink(releases["1"], current)
      logs = Harness::Suite.new_directory("logs")
      server = start_server(current, max_pool_size: 1, log_file: File.join(logs, "log"), pid_file: File.join(logs, "pid"))
      expect(server.get("/").body).to eq("release 1")
      expect(server.get("/which.txt").body).to eq("release 1")
      File.symlink(releases["2"], "#{current}.new")
      File.rename("#{current}.new", current)
      FileUtils.touch(File.join(current, "tmp/restart.txt"))
      eventually("the second release") { server.get("/").body == "release 2" }
      expect(server.get("/which.txt").body).to eq("release 2")
      expect(server.get("/only-2.txt").body).to eq("2")
      expect(server.get("/only-1.txt")).to by_app
      digested.each { |number, asset| expect(server.get(asset).body).to eq("asset of #{number}") }
      server.stop
    end

    # Any deployment by a symbolic link, not only Capistrano's.
    it "are found in the new place after a restart: by their links, and by X-Sendfile" do
      places = %w[blue green].to_h do |colour|
        app = Harness::Suite.new_directory(colour)
        site.write(app, "config.ru" => <<~RUBY, "public/which.txt" => colour, "storage/file.txt" => "stored #{colour}")
          run ->(env) { [200, { "x-app" => "#{colour}", "x-sendfile" => env["QUERY_STRING"] }.reject { |_, value| value.empty? }, []] }
        RUBY
        File.symlink("../storage/file.txt", File.join(app, "public/linked.txt"))
        FileUtils.mkdir_p(File.join(app, "tmp"))
        [colour, app]
      end
      root = Harness::Suite.new_directory("root")
      live = File.join(root, "live")
      File.symlink(places["blue"], live)
      server = start_server(live, max_pool_size: 1, log_file: File.join(root, "log"), pid_file: File.join(root, "pid"))
      everything = -> { ["/which.txt", "/linked.txt", "/?#{File.join(live, "storage/file.txt")}"].map { |target| server.get(target).body } }
      eventually("the first place") { server.get("/")["x-app"] == "blue" }
      expect(everything.call).to eq(["blue", "stored blue", "stored blue"])
      File.symlink(places["green"], "#{live}.new")
      File.rename("#{live}.new", live)
      FileUtils.touch(File.join(live, "tmp/restart.txt"))
      eventually("the second place") { server.get("/")["x-app"] == "green" }
      expect(everything.call).to eq(["green", "stored green", "stored green"])
      server.stop
    end
  end
end
