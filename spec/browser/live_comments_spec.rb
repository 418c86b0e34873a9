# frozen_string_literal: true

# Two people with a browser each, three processes, and the adapter passenger.
RSpec.describe "the example application in two browser windows", :browser do
  serve_bulletin(max_pool_size: 3, min_instances: 3, thread_count: 2, environment: { "CABLE_ADAPTER" => "passenger" })

  before(:context) do
    Harness.eventually("three processes") { Harness::Admin.of(@server).status["pool"]["ready"] == 3 }
    @windows = []
    %w[Ada Grace].each do |name|
      @windows << Harness::Browser.new
      sign_in(@windows.last, name)
    end
  end

  after(:context) { @windows&.each(&:quit) }

  let(:ada) { @windows.first }
  let(:grace) { @windows.last }

  after do |example|
    next unless example.exception

    @windows.each_with_index do |window, index|
      name = "#{example.full_description.gsub(/[^\w]+/, "-")}-#{index}.png"
      window.screenshot(File.join(Harness::Suite::FAILURES, name))
      Harness::Suite.kept << name
    end
  end

  LIVE = "document.querySelector('[data-live-state]').hidden === false"

  def url(path) = "http://127.0.0.1:#{server.port}#{path}"

  def sign_in(window, name)
    window.visit(url("/session/new"))
    window.fill("input[name=name]", name)
    window.click("form[action='/session'] [type=submit]")
  end

  def open_post(window)
    window.visit(url("/posts/1"))
    window.wait_until(LIVE)
  end

  def comment(window, text)
    window.fill("textarea[name='comment[body]']", text)
    window.click("form[action='/posts/1/comments'] [type=submit]")
    window.wait_until("location.pathname == '/posts/1'")
    window.wait_until(LIVE)
  end

  def see(window, text)
    window.wait_until("[...document.querySelectorAll('.comment')].some(comment => comment.innerText.includes(#{JSON.generate(text)}))")
  end

  it "shows in each of them at once what is written in the other" do
    [ada, grace].each { |window| open_post(window) }
    comment(ada, "Written by Ada, read by Grace")
    see(grace, "Written by Ada, read by Grace")
    comment(grace, "Written by Grace, read by Ada")
    see(ada, "Written by Grace, read by Ada")
    [ada, grace].each { |window| expect(window.complaints).to eq([]) }
  end

  it "goes on after a restart without a reload of the page" do
    [ada, grace].each { |window| open_post(window) }
    # The client looks for a new connection earlier, but not when a ping (every 3 s) is a little late.
    grace.evaluate("window.stays = true; ActionCable.ConnectionMonitor.staleThreshold = 4")
    FileUtils.touch(File.join(server.directory, "tmp/restart.txt"))
    grace.wait_until("document.querySelector('[data-live-state]').hidden")
    grace.wait_until(LIVE)
    ada.wait_until(LIVE)
    comment(ada, "Written after the restart")
    see(grace, "Written after the restart")
    expect(grace.evaluate("window.stays")).to be(true)
  end

  it "shows server-sent events as they come (EventSource)" do
    ada.visit(url("/live"))
    ada.wait_until("document.querySelector('[data-clock-state]').textContent.startsWith('Connected, event 2 ')")
    expect(ada.evaluate("document.querySelector('[data-clock-pid]').textContent")).to match(/\A\d+\z/)
    expect(ada.complaints).to eq([])
    ada.visit("about:blank")
  end
end
