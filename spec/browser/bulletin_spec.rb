# frozen_string_literal: true

RSpec.describe "the example application in a browser", :browser do
  before(:context) do
    @server = Harness::RailsServer.new(Harness::Bulletin.copy)
    @server.start
    @browser = Harness::Browser.new
  end

  after(:context) do
    @browser&.quit
    @server.stop
  ensure
    @server.destroy if @server.running?
  end

  attr_reader :server, :browser

  after do |example|
    next unless example.exception

    name = "#{example.full_description.gsub(/[^\w]+/, "-")}.png"
    browser.screenshot(File.join(Harness::Suite::FAILURES, name))
    Harness::Suite.kept << name
  end

  def url(path)
    "http://127.0.0.1:#{server.port}#{path}"
  end

  it "shows the posts with the stylesheet applied" do
    browser.visit(url("/"))
    expect(browser.evaluate("document.querySelectorAll('article').length")).to be > 3
    expect(browser.evaluate("document.styleSheets.length")).to be > 0
    expect(browser.evaluate("[...document.styleSheets].every(sheet => sheet.cssRules.length > 0)")).to be(true)
    expect(browser.evaluate("getComputedStyle(document.querySelector('.board')).display")).to eq("grid")
    expect(browser.evaluate("document.querySelector('.brand img').naturalWidth")).to be > 0
  end

  it "lets a visitor sign in and comment with the form" do
    browser.visit(url("/session/new"))
    browser.fill("input[name=name]", "Browser visitor")
    browser.click("form[action='/session'] [type=submit]")
    expect(browser.text).to include("Welcome, Browser visitor.")

    browser.visit(url("/posts/1"))
    browser.fill("textarea[name='comment[body]']", "Written in a real browser")
    browser.click("form[action='/posts/1/comments'] [type=submit]")
    browser.wait_until("location.pathname == '/posts/1'")
    expect(browser.evaluate("[...document.querySelectorAll('.comment')].map(comment => comment.innerText).join()"))
      .to include("Written in a real browser", "Browser visitor")
  end

  it "shows the readable error page of an application that does not boot" do
    directory = Harness::Apps.directory("broken", "config.ru" => "# here\nraise ArgumentError, 'seen in the browser'\n")
    broken = start_server(directory, max_pool_size: 1)
    browser.visit("http://127.0.0.1:#{broken.port}/")
    expect(browser.text).to include("ArgumentError", "seen in the browser", "config.ru")
    expect(browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth")).to be(true)
    broken.stop
  end
end
