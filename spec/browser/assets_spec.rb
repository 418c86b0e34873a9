# frozen_string_literal: true

RSpec.describe "the assets of the example application in a browser", :browser do
  before(:context) { @browser = Harness::Browser.new }
  after(:context) { @browser&.quit }

  attr_reader :browser

  after do |example|
    next unless example.exception

    name = "#{example.full_description.gsub(/[^\w]+/, "-")}.png"
    browser.screenshot(File.join(Harness::Suite::FAILURES, name))
    Harness::Suite.kept << name
  end

  def visit(path)
    browser.visit("http://127.0.0.1:#{server.port}#{path}")
  end

  # What the page has loaded, by URL path: how many bytes came over the network, and how many they are when decoded.
  def loaded
    browser.evaluate(<<~JS).to_h { |path, *sizes| [path, sizes] }
      performance.getEntriesByType("resource").map(entry => [new URL(entry.name).pathname, entry.transferSize, entry.decodedBodySize])
    JS
  end

  def assets
    loaded.select { |path, _| path.start_with?("/assets/") }
  end

  describe "that stay the same" do
    serve_bulletin

    it "load without a complaint, and are in use" do
      visit("/")
      expect(browser.complaints).to eq([])
      expect(assets.keys).to contain_exactly(%r{/application-\h+\.css\z}, %r{/application-\h+\.js\z}, %r{/logo-\h+\.svg\z})
      expect(browser.evaluate("[...document.styleSheets].map(sheet => sheet.cssRules.length > 0)")).to eq([true])
      expect(browser.evaluate("getComputedStyle(document.querySelector('.board')).display")).to eq("grid")
      expect(browser.evaluate("document.querySelector('.brand img').naturalWidth")).to be > 0
      expect(browser.evaluate("typeof ActionCable.createConsumer")).to eq("function")
    end

    it "come compressed, and arrive as they are in public" do
      another = Harness::Browser.new # with an empty cache
      another.visit("http://127.0.0.1:#{server.port}/")
      sizes = another.evaluate("performance.getEntriesByType('resource').map(entry => [new URL(entry.name).pathname, entry.encodedBodySize, entry.decodedBodySize])")
      texts = sizes.select { |path, _, _| path.match?(/\.(?:css|js)\z/) }
      expect(texts.size).to eq(2)
      texts.each do |path, encoded, decoded|
        expect(decoded).to eq(File.size(File.join(server.directory, "public", path)))
        expect(encoded).to be < decoded
      end
    ensure
      another&.quit
    end

    it "are loaded once, by whichever page comes first" do
      visit("/")
      before = assets
      ["/highlights", "/live", "/?category=event", "/"].each do |path|
        visit(path)
        expect(assets.keys).to match_array(before.keys)
        assets.each { |name, (transferred, decoded)| expect([name, transferred, decoded > 0]).to eq([name, 0, true]) }
        expect(browser.complaints).to eq([])
      end
    end
  end

  describe "that change" do
    serve_bulletin

    it "are loaded anew under a new name" do
      visit("/")
      old = assets.keys.grep(/\.css\z/).first
      Harness::Apps.write(server.directory, "app/assets/stylesheets/application.css", ".board { display: block; outline: 3px solid rgb(1, 2, 3) }\n")
      Harness::Bulletin.run(server.directory, "bundle", "exec", "rails", "assets:precompile", "RAILS_ENV=production")
      pid = server.get("/probe/pid").body
      FileUtils.touch(File.join(server.directory, "tmp/restart.txt"))
      eventually("new processes") { server.workers.none? { |worker| worker.to_s == pid } && server.get("/probe/pid").body != pid }
      visit("/")
      sheet, (transferred,) = assets.find { |path, _| path.end_with?(".css") }
      expect(sheet).not_to eq(old)
      expect(transferred).to be > 0
      expect(browser.evaluate("getComputedStyle(document.querySelector('.board')).outlineColor")).to eq("rgb(1, 2, 3)")
      expect(server.get(old).status).to eq(200) # pages that are still open need it
    end
  end
end
