# frozen_string_literal: true

require "rack"
require "rack/lint"
require_relative "driver"

# Connections that the application takes over.
RSpec.describe PhusionPassenger::Hijack do
  include_context "with a slot"

  let(:invalid) { PhusionPassenger::Native::InvalidResponse }
  let(:open_descriptors) { -> { Dir.children("/proc/self/fd").size } }

  # Has a handler serve the requests; returns what it wrote to the log.
  def serve(app, *requests)
    (requests.empty? ? [{}] : requests).each { |environment| driver.request(environment) }
    driver.end_queue
    log = StringIO.new
    original = $stderr
    $stderr = log
    handler = PhusionPassenger::RequestHandler.new(app, slot, leave: ->(_reason) {}, rest: ->(_slot) {}, oob_wanted: -> {})
    thread = Thread.new { handler.run }
    yield thread if block_given?
    thread.join(10) or raise "the handler is stuck: #{thread.backtrace.join("\n")}"
    log.string
  ensure
    $stderr = original
  end

  # The engine's end of the connection that comes with the next frame.
  def hijacked(**expected)
    frame = driver.frame
    expect(frame).to have_attributes(type: :hijack, status: 0, **expected)
    UNIXSocket.for_fd(frame.descriptor.tap { |io| io.autoclose = false }.fileno)
  end

  describe "in full" do
    it "gives the application a socket that is joined to the engine's" do
      io = driver.receive["rack.hijack"].call
      engine = hijacked(headers: [], body: "")
      io.write("answer")
      expect(engine.readpartial(100)).to eq("answer")
      engine.write("question")
      expect(io.readpartial(100)).to eq("question")
      io.close_write
      expect(engine.read).to eq("")
      engine.close
      expect(io.read).to eq("")
    end

    it "gives what the Rack specification asks of the socket" do
      io = driver.receive["rack.hijack"].call
      methods = %i[read write read_nonblock write_nonblock flush close close_read close_write closed?]
      expect(methods.reject { |name| io.respond_to?(name) }).to eq([])
      expect(io).to be_a(UNIXSocket)
      expect([io.to_io, io.sync, io.close_on_exec?]).to eq([io, true, true])
      expect(io.read_nonblock(1, exception: false)).to eq(:wait_readable)
    end

    it "gives the same socket each time, also as rack.hijack_io" do
      env = driver.receive
      io = env["rack.hijack"].call
      expect([env["rack.hijack"].call, env["rack.hijack_io"]]).to all(equal(io))
    end

    it "ignores what the application returns, and says when it has returned" do
      returned = [[-1, {}, []], nil, [500, { "x" => "y" }, ["no"]]]
      closed = false
      body = Object.new
      body.define_singleton_method(:close) { closed = true }
      returned << [200, {}, body]
      log = serve(->(env) { env["rack.hijack"].call && returned.shift }, {}, {}, {}, {}) do
        4.times { expect([hijacked.close, driver.frame.type]).to eq([nil, :end]) }
      end
      expect([log, closed]).to eq(["", true])
    end

    it "is not told to the engine when the application returns before it has been asked for" do
      gate = Thread::Queue.new
      serve(lambda { |env|
        env["rack.hijack"].call.write("during the call")
        gate.pop
        nil
      }) do
        expect(hijacked.readpartial(100)).to eq("during the call")
        gate << nil
        expect(driver.frame.type).to eq(:end)
      end
    end

    it "is broken off when the application raises, and the log says why" do
      log = serve(lambda { |env|
        env["rack.hijack"].call
        raise "boom"
      }) { expect([hijacked.close, driver.frame.type]).to eq([nil, :aborted]) }
      expect(log).to include("RuntimeError", "boom")
    end

    it "is refused for a request that has been answered, whatever is in work then" do
      first = driver.receive
      slot.respond(200, {}, [])
      expect { first["rack.hijack"].call }.to raise_error(IOError, /has been answered/)
      driver.frame
      second = driver.receive
      expect { first["rack.hijack"].call }.to raise_error(IOError, /has been answered/)
      second["rack.hijack"].call
      expect(driver.frame).to have_attributes(type: :hijack, id: slot.request_id)
    end

    it "keeps no descriptor when the engine has gone" do
      env = driver.receive
      driver.stream.close
      GC.disable # it closes what other examples have left
      before = open_descriptors.call
      expect { env["rack.hijack"].call }.to raise_error(PhusionPassenger::Native::Disconnected)
      expect(open_descriptors.call).to eq(before)
    ensure
      GC.enable
    end

    it "satisfies Rack::Lint" do
      app = lambda do |env|
        io = env["rack.hijack"].call
        io.write("answer")
        io.close
        [200, { "content-type" => "text/plain" }, []]
      end
      env = driver.receive
      Rack::Lint.new(app).call(env)
      expect(hijacked.read).to eq("answer")
    end
  end

  describe "in part" do
    def expect_response(status, headers, rest)
      frame = driver.frame
      expect([frame.type, frame.status, frame.headers]).to eq([:hijack, status, headers])
      engine = UNIXSocket.for_fd(frame.descriptor.tap { |io| io.autoclose = false }.fileno)
      expect(engine.read).to eq(rest)
    ensure
      engine&.close
    end

    it "sends the head and has the application write the rest" do
      closed = false
      body = Object.new
      body.define_singleton_method(:close) { closed = true }
      writer = lambda do |io|
        io.write("rest")
        io.close
      end
      serve(->(_env) { [200, { "Content-Type" => "text/plain", "rack.hijack" => writer }, body] }) do
        expect_response(200, [%w[Content-Type text/plain]], "rest")
        expect(driver.frame.type).to eq(:end)
      end
      expect(closed).to be(true)
    end

    it "can switch protocols, and has the headers that say to which" do
      headers = { "Connection" => "Upgrade", "Upgrade" => "chat", "Keep-Alive" => "x", "rack.hijack" => :close.to_proc }
      serve(->(_env) { [101, headers, []] }) do
        expect_response(101, [%w[Connection Upgrade], %w[Upgrade chat]], "")
      end
    end

    it "is the application's framing" do
      headers = { "Transfer-Encoding" => "chunked", "rack.hijack" => :close.to_proc }
      serve(->(_env) { ["200", headers, []] }) { expect_response(200, [%w[Transfer-Encoding chunked]], "") }
    end

    it "writes nothing where there is no body" do
      called = []
      response = ->(env) { [env["QUERY_STRING"], { "rack.hijack" => ->(_) { called << 1 } }, []] }
      serve(response, { "REQUEST_METHOD" => "HEAD", "QUERY_STRING" => "200" }, { "QUERY_STRING" => "204" },
            { "QUERY_STRING" => "304" }) do
        3.times { expect(driver.frame.type).to eq(:complete) }
      end
      expect(called).to eq([])
    end

    it "closes the socket when the application raises" do
      log = serve(->(_env) { [200, { "rack.hijack" => ->(_) { raise "boom" } }, []] }) do
        expect_response(200, [], "")
        expect(driver.frame.type).to eq(:aborted)
      end
      expect(log).to include("boom")
    end

    it "is an error with something that cannot be called, and does nothing with nil" do
      log = serve(->(env) { [200, { "rack.hijack" => env["QUERY_STRING"].empty? ? nil : 1 }, ["x"]] },
                  { "QUERY_STRING" => "a" }, {}) do
        expect(driver.frame).to have_attributes(type: :failed)
        expect(driver.frame).to have_attributes(type: :complete, body: "x")
      end
      expect(log).to include("rack.hijack is Integer")
    end

    it "satisfies Rack::Lint" do
      writer = lambda do |io|
        io.write("rest")
        io.close
      end
      app = Rack::Lint.new(->(_env) { [200, { "content-type" => "text/plain", "rack.hijack" => writer }, []] })
      serve(app) { expect_response(200, [%w[content-type text/plain]], "rest") }
    end
  end

  describe "open connections" do
    it "are counted until they are closed, and let go of by a process that was forked" do
      described_class.disown # what other examples have left
      first = driver.receive["rack.hijack"].call
      engine = hijacked
      expect(described_class.open_connections).to eq(1)
      pid = fork do
        described_class.disown
        exit!(described_class.open_connections + (first.closed? ? 0 : 1))
      end
      expect(Process.wait2(pid).last.exitstatus).to eq(0)
      first.write("still open")
      expect(engine.readpartial(100)).to eq("still open")

      done = Thread::Queue.new
      described_class.when_all_closed(interval: 0.001) { done << true }
      expect(done).to be_empty
      first.close
      expect(Timeout.timeout(10) { done.pop }).to be(true)
    end
  end
end
