# frozen_string_literal: true

require_relative "driver"

RSpec.describe PhusionPassenger::EarlyHints do
  include_context "with a slot"

  INTERIM = 4 # flag of requests whose client takes interim responses

  def receive = driver.receive(flags: INTERIM)

  it "are offered only where the client takes them" do
    expect(driver.receive).not_to include("rack.early_hints")
    slot.respond(200, {}, [])
    expect(receive["rack.early_hints"]).to respond_to(:call)
  end

  it "are sent with values as both versions of Rack have them" do
    env = receive
    expect(env["rack.early_hints"].call("Link" => "</a>\n</b>", "link" => ["</c>", "</d>"], "x-number" => 1)).to be_nil
    frame = driver.frame
    expect([frame.type, frame.status, frame.id]).to eq([:interim, 103, slot.request_id])
    expect(frame.headers).to eq([%w[Link </a>], %w[Link </b>], %w[link </c>], %w[link </d>], %w[x-number 1]])
    expect(slot.answer).to eq(:pending)
    slot.respond(200, {}, ["body"])
    expect(driver.frame.body).to eq("body")
  end

  it "may be sent by another thread" do
    env = receive
    Thread.new { env["rack.early_hints"].call("link" => "</a>") }.join
    expect(driver.frame.type).to eq(:interim)
  end

  it "have no effect when there is nothing to say" do
    env = receive
    env["rack.early_hints"].call({})
    slot.respond(200, {}, [])
    expect(driver.frame.type).to eq(:complete)
  end

  it "have no effect once the response has begun" do
    env = receive
    slot.write_head(200, {}, "a")
    env["rack.early_hints"].call("link" => "</a>")
    slot.write_end
    expect(driver.frames.map(&:type)).to eq(%i[head end])
  end

  it "have no effect on the next request" do
    old = receive["rack.early_hints"]
    slot.respond(200, {}, [])
    receive
    old.call("link" => "</a>")
    slot.respond(200, {}, [])
    expect([driver.frame.type, driver.frame.type]).to eq(%i[complete complete])
  end

  it "have no effect while the response is on its way" do
    env = receive
    hints = env["rack.early_hints"]
    status = Object.new
    # The application's own objects are asked for their text while the head is put together.
    status.define_singleton_method(:to_s) { hints.call("link" => "</a>") || "text" }
    slot.respond(200, { "x" => status }, ["body"])
    frame = driver.frame
    expect([frame.type, frame.headers, frame.body]).to eq([:complete, [%w[x text]], "body"])
  end

  {
    "carriage returns" => { "link" => "</a>\r" },
    "NUL bytes" => { "link" => "\0" }, "names with blanks" => { "a b" => "1" }, "names with colons" => { "a:b" => "1" },
    "more than the kernel takes at once" => { "link" => "x" * 20_000 }
  }.each do |what, headers|
    it "refuse #{what}, and leave the response as it would be" do
      hints = receive["rack.early_hints"]
      expect { hints.call(headers) }.to raise_error(SlotDriver::Native::InvalidResponse)
      slot.respond(200, { "a" => "b" }, ["body"])
      expect(driver.frame.headers).to eq([%w[a b]])
    end
  end

  it "leave out what is the connection's business" do
    receive["rack.early_hints"].call("connection" => "close", "link" => "</a>", "transfer-encoding" => "chunked")
    expect(driver.frame.headers).to eq([%w[link </a>]])
  end

  it "are dropped when the engine takes nothing at the moment" do
    env = receive
    slot.write_head(200, {}, nil)
    slot.write_end
    driver.request({}, flags: INTERIM)
    env = slot.receive
    # Fills the stream; nobody reads it.
    sent = 0
    sent += 1 while slot.interim(slot.request_id, [["x", "y" * 10_000]])
    expect(sent).to be_positive
    expect(env["rack.early_hints"].call("link" => "</a>")).to be_nil
    nil until driver.frame.type == :interim && (sent -= 1).zero?
    slot.respond(200, {}, ["body"])
    expect(driver.frame.body).to eq("body")
  end
end
