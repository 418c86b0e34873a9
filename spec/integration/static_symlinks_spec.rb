# frozen_string_literal: true

require_relative "../support/static_site"

RSpec.describe "symbolic links in the directory of static files" do
  site = Harness::StaticSite
  content = "the content"

  def self.link(public_directory, name, target)
    path = File.join(public_directory, name)
    FileUtils.mkdir_p(File.dirname(path))
    File.symlink(target, path)
  end

  # links: name below public => its target. @root is the application's directory, @elsewhere one that is not.
  def self.linked(links)
    elsewhere = Harness::Suite.new_directory("elsewhere")
    app = Harness::StaticSite.directory({ "real.txt" => "the content", "dir/inner.txt" => "the content", "dir/page.html" => "the content" })
    Harness::StaticSite.write(app, "storage/file.txt" => "the content", "config/deep/er/file.txt" => "the content")
    Harness::StaticSite.write(elsewhere, "file.txt" => "the content", "public/file.txt" => "the content")
    links.each { |name, target| link(File.join(app, "public"), name, target.gsub("ROOT", app).gsub("ELSEWHERE", elsewhere)) }
    [app, elsewhere]
  end

  served = {
    "to a file beside it" => ["beside.txt", "real.txt", "/beside.txt"],
    "to a file beside it, by its absolute name," => ["absolute.txt", "ROOT/public/real.txt", "/absolute.txt"],
    "to a file in a directory below" => ["below.txt", "dir/inner.txt", "/below.txt"],
    "from a directory to a file above it" => ["dir/above.txt", "../real.txt", "/dir/above.txt"],
    "to a directory" => ["linked", "dir", "/linked/inner.txt"],
    "to a directory, with a cached page in it," => ["pages", "dir", "/pages/page"],
    "to a directory, by its absolute name," => ["absolute-dir", "ROOT/public/dir", "/absolute-dir/inner.txt"],
    "to the application's other files" => ["storage.txt", "../storage/file.txt", "/storage.txt"],
    "to the application's other files, by their absolute name," => ["storage-absolute.txt", "ROOT/storage/file.txt", "/storage-absolute.txt"],
    "to a directory of the application" => ["system", "../storage", "/system/file.txt"],
    "to a link to a link" => ["first", "second", "/first"],
    "that leads out and back in" => ["around.txt", "../public/dir/../real.txt", "/around.txt"]
  }
  refused = {
    "to another directory" => ["other.txt", "ELSEWHERE/file.txt", "/other.txt"],
    "to a whole other directory" => ["other", "ELSEWHERE", "/other/file.txt"],
    "to another directory, relatively," => ["relative.txt", "../../elsewhere-of-this-run/file.txt", "/relative.txt"],
    "to a system file" => ["passwd.txt", "/etc/passwd", "/passwd.txt"],
    "to a system directory" => ["etc", "/etc", "/etc/passwd"],
    "to the root directory" => ["root", "/", "/root/etc/passwd"],
    "to a process's environment" => ["environ.txt", "/proc/self/environ", "/environ.txt"],
    "to a process's root directory" => ["proc", "/proc/self/root", "/proc/etc/passwd"],
    "to a process's open files" => ["fds", "/proc/self/fd", "/fds/0"],
    "to a link that leads to another directory" => ["chain.txt", "other.txt", "/chain.txt"],
    "to itself" => ["loop.txt", "loop.txt", "/loop.txt"],
    "in a circle" => ["circle-1", "circle-2", "/circle-1"],
    "to nothing" => ["dangling.txt", "nothing.txt", "/dangling.txt"],
    "to nothing, as a cached page," => ["dangling.html", "nothing.html", "/dangling"]
  }
  links = (served.values + refused.values).to_h { |name, target, _| [name, target] }
                                          .merge("second" => "third", "third" => "real.txt", "circle-2" => "circle-1")

  describe "with the directories that are allowed by themselves" do
    before(:context) do
      app, elsewhere = self.class.linked(links)
      File.symlink(elsewhere, File.join(File.dirname(app), "elsewhere-of-this-run"))
      @server = Harness.server(app, max_pool_size: 1).start
      site.settle(File.join(app, "storage/file.txt"))
    end

    after(:context) do
      @server.stop
    ensure
      @server.destroy if @server.running?
    end

    served.each do |sentence, (_, _, target)|
      it "are followed #{sentence}" do
        expect(server.get(target)).to have_attributes(status: 200, body: content)
        expect(server.get(target)["last-modified"]).to eq(site::OLD.httpdate)
      end
    end

    refused.each do |sentence, (_, _, target)|
      it "are not followed #{sentence}" do
        expect(server.get(target)).to by_app
      end
    end

    it "that are not followed are named in the log, with the option that would allow them" do
      server.get("/other.txt")
      eventually("a line in the log") { server.said.match?(/other\.txt.*static.symlink.dirs/) }
    end

    it "are followed anew at each request" do
      link = File.join(server.directory, "public", "moving.txt")
      { "real.txt" => true, "/etc/hostname" => false, "../storage/file.txt" => true, "/etc/passwd" => false, "dir/inner.txt" => true }.each do |target, allowed|
        File.symlink(target, "#{link}.new")
        File.rename("#{link}.new", link)
        response = server.get("/moving.txt")
        expect(response).to allowed ? have_attributes(status: 200, body: content) : by_app
      end
    end
  end

  it "lead only where --static-symlink-dirs says, if it is given" do
    app, elsewhere = self.class.linked("inside.txt" => "real.txt", "storage.txt" => "../storage/file.txt", "other.txt" => "ELSEWHERE/file.txt",
                                       "public.txt" => "ELSEWHERE/public/file.txt", "prefix.txt" => "ELSEWHERE-too/file.txt")
    site.write("#{elsewhere}-too", { "file.txt" => content })
    server = start_server(app, max_pool_size: 1, static_symlink_dirs: [elsewhere, Harness::Suite.new_directory("third")])
    %w[/inside.txt /other.txt /public.txt].each { |target| expect(server.get(target).body).to eq(content) }
    expect(server.get("/prefix.txt")).to by_app
    expect(server.get("/storage.txt")).to by_app
    server.stop
  end

  it "may be the directory itself, relative or absolute" do
    app, elsewhere = self.class.linked({})
    FileUtils.rm_rf(File.join(app, "public"))
    File.symlink(elsewhere, File.join(app, "public"))
    server = start_server(app, max_pool_size: 1)
    expect(server.get("/file.txt")).to have_attributes(status: 200, body: content)
    server.stop
  end

  describe "of a Capistrano deployment" do
    before(:context) do
      @deploy = Harness::Suite.new_directory("deploy")
      release = File.join(@deploy, "releases", "20240101000000")
      site.write(release, "config.ru" => File.read(File.join(Harness::Apps::SOURCE, "canary.ru")), "public/own.txt" => content)
      site.write(@deploy, "shared/public/assets/app-0123456789abcdef0123456789abcdef.css" => content, "shared/public/uploads/a.png" => content,
                          "releases/20230101000000/public/old.txt" => content, "repo/config" => content, "private/key.txt" => content)
      public_directory = File.join(release, "public")
      { "assets" => File.join(@deploy, "shared/public/assets"), "uploads" => "../../../shared/public/uploads",
        "old.txt" => "../../20230101000000/public/old.txt", "repo.txt" => File.join(@deploy, "repo/config"),
        "key.txt" => "../../../private/key.txt" }.each { |name, target| File.symlink(target, File.join(public_directory, name)) }
      File.symlink("releases/20240101000000", File.join(@deploy, "current"))
      logs = Harness::Suite.new_directory("deploy-logs")
      @server = Harness.server(File.join(@deploy, "current"), max_pool_size: 1, log_file: File.join(logs, "log"), pid_file: File.join(logs, "pid")).start
    end

    after(:context) do
      @server.stop
    ensure
      @server.destroy if @server.running?
    end

    it "lead to the shared directories and to other releases" do
      ["/own.txt", "/assets/app-0123456789abcdef0123456789abcdef.css", "/uploads/a.png", "/old.txt"].each do |target|
        expect(server.get(target)).to have_attributes(status: 200, body: content)
      end
      expect(server.get("/assets/app-0123456789abcdef0123456789abcdef.css")["cache-control"]).to include("immutable")
    end

    it "lead nowhere else" do
      %w[/repo.txt /key.txt].each { |target| expect(server.get(target)).to by_app }
    end
  end
end
