# frozen_string_literal: true

require "rack"
require_relative "driver"

# What an application learns of a client that has gone while a slot sends a response to it.
RSpec.describe PhusionPassenger::RequestHandler do
  include_context "with a slot"

  let(:calls) { Thread::Queue.new }

  def next_call = Timeout.timeout(10) { calls.pop }

  # Runs the app for one request; yields when its response has begun.
  def serving(app)
    handler = described_class.new(app, slot, leave: ->(_) {}, rest: -> {}, oob_wanted: -> {})
    id = driver.request
    thread = Thread.new { handler.run }
    expect(driver.frame.type).to eq(:head)
    yield handler, id
    driver.end_queue
    expect(thread.join(10)).to be(thread)
  ensure
    thread&.kill
  end

  def leave(handler, id)
    driver.notify(:client_gone, id)
    handler.client_gone(id)
  end

  # Waits for events, and can be told not to.
  let(:subscription) do
    queue = Thread::Queue.new
    log = calls
    Class.new do
      define_method(:each) do |&block|
        block.call("hello")
        log << [:popped, queue.pop]
      end
      define_method(:abort) do
        log << [:aborted, Thread.current.name]
        queue.close
      end
      define_method(:close) { log << [:closed, Thread.current.name] }
    end.new
  end

  it "aborts a body that can be, in another thread, and closes it in the slot's" do
    serving(->(_env) { [200, {}, subscription] }) do |handler, id|
      leave(handler, id)
      expect([next_call, next_call, next_call]).to eq([[:aborted, "passenger client gone"], [:popped, nil], [:closed, nil]])
    end
  end

  it "aborts it once, and behind proxies" do
    body = Rack::BodyProxy.new(subscription) { calls << :proxy_closed }
    serving(->(_env) { [200, {}, body] }) do |handler, id|
      3.times { leave(handler, id) }
      expect(Array.new(4) { next_call }).to eq([[:aborted, "passenger client gone"], [:popped, nil], [:closed, nil], :proxy_closed])
    end
    expect(calls).to be_empty
  end

  it "takes no notice of a client of another request, or of one whose response has ended" do
    open = PhusionPassenger::OpenResponse.new(slot)
    driver.receive
    open.watch(-> { calls << :gone }) { open.client_gone(slot.request_id + (1 << 24)) }
    open.client_gone(slot.request_id)
    expect(calls).to be_empty
    open.watch(-> { calls << :gone }) { open.client_gone(slot.request_id) }
    expect(next_call).to eq(:gone)
  end

  it "tells nobody after a response that has raised" do
    open = PhusionPassenger::OpenResponse.new(slot)
    driver.receive
    expect { open.watch(-> { calls << :gone }) { raise "broken" } }.to raise_error("broken")
    open.client_gone(slot.request_id)
    expect(calls).to be_empty
  end

  it "logs what an application raises when it is told" do
    subscription.define_singleton_method(:abort) { raise "no goodbye" }
    expect do
      serving(->(_env) { [200, {}, subscription] }) do |handler, id|
        thread = handler.client_gone(id)
        thread.join
        driver.stream.close
        subscription.singleton_class.send(:remove_method, :abort)
        subscription.abort
      end
    end.to output(/no goodbye/).to_stderr
  end

  it "closes the stream of a callable body" do
    errors = []
    streaming = lambda do |stream|
      stream.write("hello")
      calls << :begun
      Timeout.timeout(10) { sleep 0.001 until stream.closed? }
      [-> { stream.read }, -> { stream.write("x") }, -> { stream << "x" }].each do |use|
        use.call
      rescue IOError => e
        errors << e.class
      end
      stream.close
      calls << :over
    end
    serving(->(_env) { [200, {}, streaming] }) do |handler, id|
      expect(next_call).to eq(:begun)
      leave(handler, id)
      expect(next_call).to eq(:over)
      expect(errors).to eq([IOError, SlotDriver::Native::ClientGone, SlotDriver::Native::ClientGone])
      expect(driver.frame.type).to eq(:aborted)
    end
  end

  it "waits no longer for another thread that writes a callable body" do
    streaming = ->(stream) { Thread.new { stream.write("hello") && sleep } }
    serving(->(_env) { [200, {}, streaming] }) do |handler, id|
      leave(handler, id)
      expect(driver.frame.type).to eq(:aborted)
    end
  end

  describe "with a buffer of ActionController::Live" do
    # As Rails has it: the action writes, and may close; the server iterates, and may abort.
    let(:buffer) do
      Class.new do
        attr_reader :queue

        def initialize
          @buf = @queue = Thread::SizedQueue.new(10)
          @aborted = false
        end

        def abort
          @aborted = true
          @buf.clear
        end

        def connected? = !@aborted

        def each
          while (piece = @buf.pop)
            yield piece
          end
        end
      end.new
    end

    def app
      controller = Struct.new(:response).new(Struct.new(:stream).new(buffer))
      lambda do |env|
        env["action_controller.instance"] = controller
        [200, {}, Enumerator.new { |yielder| buffer.each { |piece| yielder << piece } }] # shows no abort, as Rails' body doesn't
      end
    end

    it "aborts it and takes the server's thread out of it" do
      buffer.queue << "hello"
      serving(app) do |handler, id|
        expect(buffer).to be_connected
        leave(handler, id)
        expect(driver.frame.type).to eq(:end)
        expect(buffer).not_to be_connected
      end
    end

    it "does not wait for room in a queue that the action has filled again" do
      buffer.queue << "hello"
      original = buffer.method(:abort)
      full = buffer.queue
      buffer.define_singleton_method(:abort) do
        original.call
        full << "late" while full.size < full.max
      end
      serving(app) do |handler, id|
        thread = handler.client_gone(id)
        expect(thread.join(10)).to be(thread)
        driver.notify(:client_gone, id)
        full << "one more"
        eventually_answered
      end
    end

    def eventually_answered
      Timeout.timeout(10) { nil until %i[aborted end].include?(driver.frame.type) }
    end
  end
end
