# frozen_string_literal: true

# Where an application says that its cached pages are, there the server looks for them.
RSpec.describe "page_cache_directory" do
  before(:context) { skip "actionpack-page_caching is not installed" unless Harness::Bulletin.gem?("actionpack-page_caching") }

  # One controller for each way of saying where the pages are.
  WAYS = {
    "a path" => 'Rails.root.join("cache/path")',
    "a lambda" => '-> { Rails.root.join("cache", "lambda") }',
    "a Proc that asks the controller" => 'proc { File.join(Rails.root, "cache", controller_name) }',
    "a method" => ":directory_of_pages"
  }.freeze
  DIRECTORIES = { "a path" => "cache/path", "a lambda" => "cache/lambda", "a Proc that asks the controller" => "cache/place2",
                  "a method" => "cache/method" }.freeze

  def self.place(number, directory)
    <<~RUBY
      class Place#{number}Controller < ActionController::Base
        skip_forgery_protection
        self.page_cache_directory = #{directory}
        caches_page :show

        def show = render(html: "place #{number}, \#{SecureRandom.hex(8)}")

        def destroy
          expire_page(action: :show)
          head :no_content
        end

        private

        def directory_of_pages = Rails.root.join("cache/method")
      end
    RUBY
  end

  def self.application(directories)
    directories.each_with_index.to_h { |directory, number| ["app/controllers/place#{number}_controller.rb", place(number, directory)] }
  end

  def self.routes(count)
    Array.new(count) { |number| "resource :place#{number}, only: %i[show destroy], controller: \"place#{number}\"" }.join("\n")
  end

  def expire(path)
    server.connect { |client| client.request("DELETE", path).read_response(to: "DELETE") }
  end

  def expect_from_server(path, body)
    response = nil
    expect { response = server.get(path) }.not_to(change { server.asked_for(path) })
    expect(response).to have_attributes(status: 200, body: body)
    expect(response).not_to come_from_rails
    expect(response["content-type"]).to start_with("text/html")
  end

  # The life of a page: made by Rails, kept by the server, expired, made anew.
  def expect_page_cache(path, file)
    2.times do
      made = server.get(path)
      expect(made).to have_attributes(status: 200).and come_from_rails
      expect(File.read(File.join(server.directory, file))).to eq(made.body)
      2.times { expect_from_server(path, made.body) }
      expect(expire(path).status).to eq(204)
    end
  end

  shared_examples "directories of controllers" do
    WAYS.each_key.with_index do |way, number|
      it "may be #{way}" do
        expect_page_cache("/place#{number}", "#{DIRECTORIES.fetch(way)}/place#{number}.html")
      end
    end

    it "is public for controllers that say nothing" do
      expect(server.get("/highlights")).to have_attributes(status: 200)
      expect_from_server("/highlights", File.binread(File.join(server.directory, "public/highlights.html")))
    end

    it "may depend on the request: Rails answers then, and the log says what can be done" do
      path = "/place#{WAYS.size}"
      3.times { expect(server.get(path)).to have_attributes(status: 200).and come_from_rails }
      expect(File.exist?(File.join(server.directory, "cache/localhost#{path}.html"))).to be(true)
      said = server.respond_to?(:said) ? server.said : server.output
      expect(said).to match(/page cache directory of Place#{WAYS.size}Controller .*depends on the request.*--page-cache-dir/)
    end
  end

  all = [*WAYS.values, '-> { Rails.root.join("cache", request.host) }']

  describe "of controllers, under passenger start" do
    serve_bulletin(application(all), routes: routes(all.size))

    include_examples "directories of controllers"
  end

  describe "of controllers, under rails server in production" do
    before(:context) do
      files = self.class.application(all)
      @server = Harness::RailsServer.new(Harness::Bulletin.production(files, routes: self.class.routes(all.size)), "-e", "production")
      @server.start
    end

    after(:context) do
      @server&.stop
    ensure
      @server.destroy if @server&.running?
    end

    include_examples "directories of controllers"
  end

  describe "of the whole application" do
    serve_bulletin({ "app/controllers/place0_controller.rb" => place(0, '-> { Rails.root.join("cache", "own") }') }, routes: routes(1),
                   settings: 'config.action_controller.page_cache_directory = Rails.root.join("cache/pages")')

    it "takes the place of public" do
      server.get("/highlights")
      body = File.binread(File.join(server.directory, "cache/pages/highlights.html"))
      expect_from_server("/highlights", body)
      expect(File.exist?(File.join(server.directory, "public/highlights.html"))).to be(false)
      expect(server.get("/robots.txt").status).to eq(200)
    end

    it "is emptied by forms" do
      visitor = Harness::Visitor.new(server)
      visitor.visit("/session/new")
      visitor.submit("/session", "name" => "Mira")
      server.get("/highlights")
      visitor.visit("/posts/new")
      visitor.submit("/posts", "post[title]" => "Seed exchange", "post[body]" => "text", "post[category]" => "event")
      expect(visitor.page.status).to eq(302), visitor.page.inspect
      fresh = server.get("/highlights")
      expect(fresh).to come_from_rails
      expect(fresh.body).to include("Seed exchange")
    ensure
      visitor&.close
    end

    it "is another one for a controller that says so" do
      expect_page_cache("/place0", "cache/own/place0.html")
    end

    it "may have subdirectories and an index" do
      Harness::Apps.write(server.directory, "cache/pages/news/2024.html", "news of 2024")
      Harness::Apps.write(server.directory, "cache/pages/news/index.html", "all news")
      expect_from_server("/news/2024", "news of 2024")
      expect_from_server("/news/", "all news")
    end
  end

  describe "against the option page_cache_dir" do
    serve_bulletin({ "app/controllers/place0_controller.rb" => place(0, '-> { Rails.root.join("cache", request.host) }') }, routes: routes(1),
                   settings: 'config.action_controller.page_cache_directory = Rails.root.join("cache/pages")', page_cache_dir: "cache/localhost")

    it "does not count" do
      Harness::Apps.write(server.directory, "cache/pages/page.html", "of the application")
      expect(server.get("/page")).to have_attributes(status: 404).and come_from_rails
      Harness::Apps.write(server.directory, "cache/localhost/page.html", "of the option")
      expect_from_server("/page", "of the option")
    end

    it "is helped out where it depends on the request" do
      expect_page_cache("/place0", "cache/localhost/place0.html")
    end
  end
end
