# frozen_string_literal: true

require_relative "../support/static_site"

# Downloads: what Rails' send_file names is opened by the application process and sent by the server.
RSpec.describe "send_file" do
  FILES = <<~'RUBY'
    class FilesController < ApplicationController
      def data = send_data("0123456789" * 30, filename: "digits.txt", type: "text/plain", disposition: "inline")
      def named = send_file(params[:path])

      def validated
        path = params[:path]
        send_file path, type: "text/x-own" if stale?(strong_etag: "of the application", last_modified: File.mtime(path))
      end

      def with_header
        response.headers[params[:header]] = params[:value]
        response.headers["Content-Type"] = "text/x-own"
        render plain: "the application's own body"
      end

      def environment = render(json: request.env.slice("HTTP_X_SENDFILE_TYPE", "sendfile.type", "HTTP_X_ACCEL_MAPPING"))
    end
  RUBY

  files = [{ "app/controllers/files_controller.rb" => FILES, "files/notes.txt" => "0123456789" * 30 }]
  routes = "get \"files/:action\", controller: \"files\""

  def stored
    @stored ||= Dir.glob("storage/production/*/*", base: server.directory).map { |name| File.join(server.directory, name) }
  end

  def picture
    @picture ||= stored.find { |path| File.binread(path, 8) == "\x89PNG\r\n\x1A\n".b } or raise "no picture among #{stored}"
  end

  def target(action, **query)
    "/files/#{action}?#{URI.encode_www_form(query)}"
  end

  def expect_no_trace(response)
    expect(response.header_lines.map(&:first)).not_to include("x-sendfile", "x-accel-redirect", "x-sendfile-type", "x-accel-mapping")
  end

  shared_examples "downloads" do
    # The page of the post with attachments says where they are.
    let(:path) { server.get("/posts/9").body[%r{/attachments/\d+(?=\?)}] or raise "no picture on the page" }
    let(:content) { File.binread(picture) }

    it "sends attachments whole, with their name and length" do
      response = server.get(path)
      expect(response).to have_attributes(status: 200, framing: :length).and come_from_rails
      expect(response.body == content).to be(true)
      expect(response["content-length"]).to eq(content.bytesize.to_s)
      expect(response["content-type"]).to eq("image/png")
      expect(response["content-disposition"]).to match(/\Aattachment;.*filename="garden-plan.png"/)
      expect(response["accept-ranges"]).to eq("bytes")
      expect_no_trace(response)
    end

    it "sends what is to be shown in the page" do
      response = server.get("#{path}?disposition=inline")
      expect(response["content-disposition"]).to match(/\Ainline;/)
      expect(response.body == content).to be(true)
    end

    it "sends parts" do
      { "bytes=0-9" => content[0, 10], "bytes=-10" => content[-10..], "bytes=100-" => content[100..] }.each do |range, bytes|
        response = server.get(path, "Range" => range)
        expect(response).to have_attributes(status: 206)
        expect(response.body == bytes).to be(true)
        expect(response["content-range"]).to match(%r{\Abytes \d+-\d+/#{content.bytesize}\z})
        expect(response["content-disposition"]).to include("garden-plan.png")
      end
      several = server.get(path, "Range" => "bytes=0-4,50-54")
      expect(Harness::StaticSite.parts(several).map(&:last)).to eq([content[0, 5], content[50, 5]])
      beyond = server.get(path, "Range" => "bytes=#{content.bytesize}-")
      expect(beyond.status).to eq(416)
      expect(beyond["content-range"]).to eq("bytes */#{content.bytesize}")
    end

    it "has validators and their conditions" do
      Harness::StaticSite.settle(picture)
      response = server.get(path)
      expect(response["etag"]).to match(/\A"[^"]+"\z/)
      expect(response["last-modified"]).to eq(File.mtime(picture).httpdate)
      expect(server.get(path, "If-None-Match" => response["etag"])).to have_attributes(status: 304, body: "")
      expect(server.get(path, "If-Modified-Since" => response["last-modified"]).status).to eq(304)
      expect(server.get(path, "If-None-Match" => '"other"').status).to eq(200)
      expect(server.get(path, "Range" => "bytes=0-9", "If-Range" => response["etag"]).status).to eq(206)
      whole = server.get(path, "Range" => "bytes=0-9", "If-Range" => '"other"')
      expect(whole.status).to eq(200)
      expect(whole.body == content).to be(true)
    end

    it "answers HEAD without a body, and without a length that is not the file's" do
      server.connect do |client|
        # Rack::Head takes the file away, so nobody knows its length.
        expect(client.head(path)).to have_attributes(status: 200, body: "").and satisfy { |response| [nil, content.bytesize.to_s].include?(response["content-length"]) }
        expect(client.get(path).body == content).to be(true)
      end
    end

    it "keeps the application's own validators" do
      notes = File.join(server.directory, "files/notes.txt")
      response = server.get(target("validated", path: notes))
      expect(response).to have_attributes(status: 200, body: File.read(notes))
      expect(response.all("etag").size).to eq(1)
      expect(response.all("last-modified")).to eq([File.mtime(notes).httpdate])
      expect(response["content-type"]).to start_with("text/x-own")
      expect(server.get(target("validated", path: notes), "If-None-Match" => response["etag"]).status).to eq(304)
      expect(server.get(target("validated", path: notes), "Range" => "bytes=3-5", "If-Range" => response["etag"])).to have_attributes(status: 206, body: "345")
    end

    it "sends uploads of some size, several times on one connection" do
      bytes = Harness::StaticSite.noise(3_000_000)
      visitor = Harness::Visitor.new(server)
      visitor.visit("/session/new")
      visitor.submit("/session", "name" => "Ida")
      visitor.visit("/posts/new")
      visitor.submit_with_files("/posts", { "post[title]" => "With a file", "post[body]" => "text", "post[category]" => "news" },
                                "post[files][]" => ["data.bin", "application/octet-stream", bytes])
      uploaded = visitor.follow.body[%r{/attachments/\d+}]
      server.connect { |client| 3.times { expect(client.get(uploaded).body == bytes).to be(true) } }
      visitor.close
    end

    it "leaves send_data alone" do
      response = server.get("/files/data")
      expect(response).to have_attributes(status: 200, body: "0123456789" * 30)
      expect(response["content-disposition"]).to include("inline", "digits.txt")
      expect(server.get("/files/data", "Range" => "bytes=0-9")).to have_attributes(status: 200, body: "0123456789" * 30)
    end

    { "X-Sendfile-Type" => "X-Accel-Redirect", "X-Accel-Mapping" => "/=/files/", "X-Sendfile" => "/etc/passwd", "X-Accel-Redirect" => "/etc/passwd" }
      .each do |name, value|
        it "cannot be led astray by a client that sends #{name}" do
          expect(server.get("/files/environment", name => value).json).to eq(server.get("/files/environment").json)
          response = server.get(path, name => value)
          expect(response.status).to eq(200)
          expect(response.body == content).to be(true)
          expect_no_trace(response)
        end
      end
  end

  # Rack::Sendfile does not make a header of the file.
  shared_examples "files from anywhere" do
    it "sends files that lie anywhere: the application has opened them" do
      elsewhere = Harness::Apps.write(Harness::Suite.new_directory("elsewhere"), "file.txt", "elsewhere")
      expect(server.get(target("named", path: elsewhere))).to have_attributes(status: 200, body: "elsewhere")
    end
  end

  shared_examples "files from allowed directories" do
    it "sends no files from directories that are not allowed" do
      elsewhere = Harness::Apps.write(Harness::Suite.new_directory("elsewhere"), "file.txt", "KEEP-THIS")
      response = server.get(target("named", path: elsewhere))
      expect(response.status).to be >= 400
      expect(response.body).not_to include("KEEP-THIS")
      expect_no_trace(response)
      eventually("a line in the log") { server.said.lines.any? { |line| line.include?(elsewhere) && line.match?(/sendfile.dirs|x.accel.mappings/) } }
    end
  end

  describe "without any setting" do
    serve_bulletin(*files, routes: routes)

    include_examples "downloads"
    include_examples "files from anywhere"

    it "has a counterpart in the header X-Sendfile, for files of the application" do
      notes = File.join(server.directory, "files/notes.txt")
      response = server.get(target("with_header", header: "X-Sendfile", value: notes))
      expect(response).to have_attributes(status: 200, body: File.read(notes))
      expect(response["content-type"]).to start_with("text/")
      expect(server.get(target("with_header", header: "X-Sendfile", value: notes), "Range" => "bytes=3-5")).to have_attributes(status: 206, body: "345")
      expect_no_trace(response)
    end

    it "has limits in that header, and the log names the option" do
      elsewhere = Harness::Apps.write(Harness::Suite.new_directory("elsewhere"), "file.txt", "KEEP-THIS")
      [elsewhere, "/etc/passwd"].each do |path|
        response = server.get(target("with_header", header: "X-Sendfile", value: path))
        expect(response.status).to be >= 400
        expect(response.body).not_to match(/KEEP-THIS|^root:|own body/)
        expect_no_trace(response)
        eventually("a line in the log") { server.said.lines.grep(/sendfile.dirs/).any? { |line| line.include?(path) } }
      end
    end

    it "needs mappings for X-Accel-Redirect, and the log names the option" do
      response = server.get(target("with_header", header: "X-Accel-Redirect", value: "/protected/notes.txt"))
      expect(response.status).to be >= 400
      expect(response.body).not_to include("own body")
      expect_no_trace(response)
      eventually("a line in the log") { server.said.match?(/x.accel.mappings/) }
    end
  end

  describe 'with config.action_dispatch.x_sendfile_header = "X-Sendfile"' do
    serve_bulletin(*files, routes: routes, settings: 'config.action_dispatch.x_sendfile_header = "X-Sendfile"')

    include_examples "downloads"
    include_examples "files from allowed directories"
  end

  describe 'with config.action_dispatch.x_sendfile_header = "X-Accel-Redirect" and a mapping' do
    before(:context) do
      directory = Harness::Bulletin.production(*files, routes: routes, settings: 'config.action_dispatch.x_sendfile_header = "X-Accel-Redirect"')
      @server = Harness::BulletinServer.new(directory, x_accel_mappings: ["#{directory}/storage/production=/stored", "#{directory}/files=/protected"])
      @server.start
    end

    after(:context) do
      @server&.stop
    ensure
      @server.destroy if @server&.running?
    end

    include_examples "downloads"
    include_examples "files from allowed directories"

    it "may be written by hand" do
      response = server.get(target("with_header", header: "X-Accel-Redirect", value: "/protected/notes.txt"))
      expect(response).to have_attributes(status: 200, body: "0123456789" * 30)
      expect_no_trace(response)
      outside = server.get(target("with_header", header: "X-Accel-Redirect", value: "/protected/../config/database.yml"))
      expect(outside.status).to be >= 400
      expect(outside.body).not_to match(/adapter|own body/)
    end
  end

  describe "under rails server in production" do
    before(:context) do
      @server = Harness::RailsServer.new(Harness::Bulletin.production(*files, routes: routes), "-e", "production")
      @server.start
    end

    after(:context) do
      @server&.stop
    ensure
      @server.destroy if @server&.running?
    end

    include_examples "downloads"
    include_examples "files from anywhere"
  end
end

RSpec.describe "Active Storage on the local disk" do
  BLOBS = <<~'RUBY'
    class BlobsController < ActionController::Base
      skip_forgery_protection

      def create
        blob = ActiveStorage::Blob.create_and_upload!(io: StringIO.new(request.raw_post), filename: "data.bin",
                                                      content_type: "application/octet-stream", identify: false)
        render json: { redirect: rails_storage_redirect_path(blob), proxy: rails_storage_proxy_path(blob) }
      end
    end
  RUBY
  STORAGE = "local:\n  service: Disk\n  root: <%= Rails.root.join(\"storage\", \"blobs\") %>\n"

  before(:context) do
    directory = Harness::Bulletin.production({ "app/controllers/blobs_controller.rb" => BLOBS, "config/storage.yml" => STORAGE },
                                             routes: "resources :blobs, only: :create", settings: "config.active_storage.service = :local")
    Harness::Bulletin.edit(directory, "config/application.rb") { |text| text.sub(/^require "action_cable/, "require \"active_storage/engine\"\n\\0") }
    Harness::Bulletin.edit(directory, "config/environments/development.rb") { |text| text.sub("configure do\n", "\\0  config.active_storage.service = :local\n") }
    Harness::Bulletin.run(directory, "bundle", "exec", "rails", "active_storage:install", "RAILS_ENV=production")
    Harness::Bulletin.run(directory, "bundle", "exec", "rails", "db:migrate", "RAILS_ENV=production")
    @server = Harness::BulletinServer.new(directory).start
  end

  after(:context) do
    @server&.stop
  ensure
    @server.destroy if @server&.running?
  end

  let(:bytes) { Harness::StaticSite.noise(300_000) }
  let(:urls) { server.post("/blobs", bytes, "Content-Type" => "application/octet-stream").json }

  def stored_at
    server.get(urls.fetch("redirect"))["location"].sub(%r{\Ahttp://[^/]+}, "")
  end

  it "has its files sent by the server, with ranges and conditions" do
    path = stored_at
    expect(path).to start_with("/rails/active_storage/disk/")
    response = server.get(path)
    expect(response).to have_attributes(status: 200, framing: :length)
    expect(response.body == bytes).to be(true)
    expect(response["content-disposition"]).to include("data.bin")
    part = server.get(path, "Range" => "bytes=100-199")
    expect(part.status).to eq(206)
    expect(part.all("content-range")).to eq(["bytes 100-199/300000"])
    expect(part.body == bytes[100, 100]).to be(true)
    expect(server.head(path)["content-length"]).to eq("300000")
  end

  it "has its proxied files streamed whole" do
    expect(server.get(urls.fetch("proxy")).body == bytes).to be(true)
  end
end
