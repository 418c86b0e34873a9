# frozen_string_literal: true

require "rack"
require_relative "driver"

RSpec.describe PhusionPassenger::RequestHandler do
  include_context "with a slot"

  let(:left) { [] }
  let(:oob_wanted) { [] }

  # Each-able, and knows whether it was closed.
  def body(*chunks, path: nil, to_ary: :none, failure: nil, on_close: nil)
    Class.new do
      attr_reader :closed

      define_method(:initialize) { @closed = 0 }
      define_method(:each) do |&block|
        chunks.each(&block)
        raise failure if failure
      end
      define_method(:close) do
        @closed += 1
        on_close&.call
      end
      define_method(:to_path) { path } if path
      define_method(:to_ary) { to_ary } unless to_ary == :none
    end.new
  end

  def handler_of(app)
    described_class.new(app, driver.slot, leave: ->(reason) { left << reason }, rest: -> { raise "not paused" },
                                          oob_wanted: -> { oob_wanted << driver.slot.answer })
  end

  # Has the handler serve requests until the queue ends; returns what it wrote to the log.
  def serve(app, *requests)
    (requests.empty? ? [{}] : requests).each { |environment| driver.request(environment) }
    driver.end_queue
    log = StringIO.new
    handler = handler_of(app)
    thread = Thread.new { handler.run }
    original = $stderr
    $stderr = log
    yield thread if block_given?
    thread.join(10) or raise "the handler is stuck: #{thread.backtrace.join("\n")}"
    log.string
  ensure
    $stderr = original
  end

  def app_returning(response) = ->(_env) { response }

  def whole(frames)
    frames.first.body + frames[1..].map(&:payload).join
  end

  describe "bodies" do
    it "sends an Array in one frame" do
      serve(app_returning([200, {}, %w[a b]]))
      expect(driver.frames.map(&:type)).to eq([:complete])
    end

    it "sends what turns into an Array in one frame, and closes it" do
      response = body(to_ary: %w[a b])
      serve(app_returning([200, {}, response]))
      expect(driver.frame.body).to eq("ab")
      expect(response.closed).to eq(1)
    end

    it "sends an Array behind middleware in one frame" do
      closed = false
      proxy = Rack::BodyProxy.new(Rack::BodyProxy.new(%w[a b]) { nil }) { closed = true }
      serve(app_returning([200, {}, proxy]))
      expect(driver.frame.body).to eq("ab")
      expect(closed).to be(true)
    end

    it "does not put a body together whose length is known, as Rails 7.2 cannot do with parts of files" do
      response = body("abc", to_ary: %w[wrong])
      serve(app_returning([200, { "Content-Length" => "3" }, response]))
      frame = driver.frame
      expect([frame.type, frame.body, response.closed]).to eq([:complete, "abc", 1])
    end

    it "iterates to the end although the first chunk is all there is" do
      ended = false
      response = Enumerator.new { |chunks| chunks << "abc"; chunks << ""; ended = true } # rubocop:disable Style/Semicolon
      serve(app_returning([200, { "Content-Length" => "3" }, response]))
      expect([driver.frame.type, ended]).to eq([:complete, true])
    end

    it "uses each where to_ary gives nil, as in Rails 6.1" do
      response = body("a", "b", to_ary: nil)
      serve(app_returning([200, {}, response]))
      expect(whole(driver.frames)).to eq("ab")
      expect(response.closed).to eq(1)
    end

    it "sends what responds to each chunk by chunk, and closes it" do
      response = body("a", "", "b")
      serve(app_returning([200, { "X" => "1" }, response]))
      frames = driver.frames
      expect(frames.map(&:type)).to eq(%i[head body end])
      expect([frames[0].headers, frames[0].body, frames[1].payload]).to eq([[%w[X 1]], "a", "b"])
      expect(response.closed).to eq(1)
    end

    it "sends each chunk as soon as there is one" do
      gate = Thread::Queue.new
      serve(app_returning([200, {}, Enumerator.new { |yielder| 2.times { yielder << gate.pop } }])) do
        gate << "a"
        expect(driver.frame.body).to eq("a")
        gate << "b"
        expect(driver.frame.payload).to eq("b")
      end
    end

    it "sends the head of server-sent events before the first of them, and of others when the first chunk is empty" do
      gate = Thread::Queue.new
      waiting = -> { Enumerator.new { |yielder| yielder << gate.pop } }
      apps = [[200, { "Content-Type" => "text/event-stream" }, waiting.call],
              [200, {}, Enumerator.new { |yielder| yielder << "" << gate.pop }]]
      serve(->(_env) { apps.shift }, {}, {}) do
        2.times do
          expect(driver.frame).to have_attributes(type: :head, body: "")
          gate << "later"
          expect(driver.frames.map(&:payload)).to eq(["later", ""])
        end
      end
    end

    it "sends a body without chunks as a complete response" do
      serve(app_returning([200, {}, body]))
      expect(driver.frames.map(&:type)).to eq([:complete])
    end

    it "takes enumerators, a string and nil" do
      responses = [[200, {}, %w[a b].each], [200, {}, "text"], [200, {}, nil]]
      serve(->(_env) { responses.shift }, {}, {}, {})
      expect(whole(driver.frames)).to eq("ab")
      expect([driver.frame.body, driver.frame.body]).to eq(["text", ""])
    end

    it "closes the body of a response that has none" do
      response = body("a")
      serve(app_returning([200, {}, response]), { "REQUEST_METHOD" => "HEAD" })
      expect(driver.frame.body).to eq("")
      expect(response.closed).to eq(1)
    end

    it "gives the engine the file of a response to HEAD, since its size and age are in the head" do
      file = File.join(Dir.mktmpdir, "file.txt").tap { |path| File.write(path, "content") }
      named = Struct.new(:to_path)
      serve(->(env) { [200, {}, named.new(env["QUERY_STRING"])] },
            { "REQUEST_METHOD" => "HEAD", "QUERY_STRING" => file }, { "REQUEST_METHOD" => "HEAD", "QUERY_STRING" => "/none" })
      expect([driver.frame.type, driver.frame.type]).to eq(%i[file complete])
    ensure
      FileUtils.rm_rf(File.dirname(file)) if file
    end

    it "takes off chunks that the application has framed itself, as Rails 6.1 does" do
      framed = ["4\r\nWiki\r\n", "6;ext=1\r\npe", "dia \r", "\nE\r\nin \r\n\r\nchunks.\r\n", "0\r\n\r\n"]
      responses = [[200, { "Transfer-Encoding" => "chunked" }, body(*framed)], [200, { "Transfer-Encoding" => "chunked" }, framed]]
      serve(->(_env) { responses.shift }, {}, {})
      2.times do
        frames = driver.frames
        expect(frames.first.headers).to eq([])
        expect(whole(frames)).to eq("Wikipedia in \r\n\r\nchunks.")
      end
    end

    it "breaks off a response whose own chunks are malformed" do
      log = serve(app_returning([200, { "Transfer-Encoding" => "chunked" }, body("4\r\nWiki\r\n", "zz\r\n")]))
      expect(driver.frames.map(&:type)).to eq(%i[head aborted])
      expect(log).to match(/"zz\\r\\n" is not a chunk header/)
    end

    it "refuses what is no body" do
      log = serve(app_returning([200, {}, Object.new]))
      expect(driver.frame.type).to eq(:failed)
      expect(log).to include("responds neither to each nor to call")
    end
  end

  describe "files" do
    around { |example| Dir.mktmpdir { |dir| @dir = dir and example.run } }

    let(:path) { File.join(@dir, "file.txt").tap { |name| File.write(name, "content") } }

    it "go to the engine with their path" do
      response = body(path: path)
      serve(app_returning([200, { "X" => "1", "Content-Length" => "7" }, response]))
      frame = driver.frame
      expect([frame.type, frame.body, frame.headers.first]).to eq([:file, path, %w[X 1]])
      expect(frame.descriptor.read).to eq("content")
      expect(response.closed).to eq(1)
    ensure
      frame&.descriptor&.close
    end

    it "go to the engine even when closing the body deletes them" do
      serve(app_returning([200, {}, body(path: path, on_close: -> { File.delete(path) })]))
      expect(File.exist?(path)).to be(false)
      frame = driver.frame
      expect([frame.type, frame.descriptor.read]).to eq([:file, "content"])
    ensure
      frame&.descriptor&.close
    end

    it "are not kept open" do
      links = -> { Dir.glob("/proc/self/fd/*").select { |fd| File.symlink?(fd) }.map { |fd| File.readlink(fd) } }
      responses = [[200, {}, body(path: path)], [200, { "Content-Length" => "3" }, body("con", path: path)]]
      serve(->(_env) { responses.shift }, {}, {})
      driver.frame.descriptor.close
      expect(links.call).not_to include(path)
    end

    it "are found behind middleware and relative to the working directory" do
      Dir.chdir(File.dirname(path)) do
        serve(app_returning([200, {}, Rack::BodyProxy.new(body(path: "file.txt")) { nil }]))
      end
      frame = driver.frame
      expect(frame.body).to eq(File.realpath(path))
      frame.descriptor.close
    end

    {
      "a part was asked for (206)" => [206, {}],
      "the response has a Content-Range" => [200, { "content-range" => "bytes 0-1/7" }],
      "the length does not fit" => [200, { "Content-Length" => "3" }]
    }.each do |what, (status, headers)|
      it "are read by the application when #{what}" do
        serve(app_returning([status, headers, body("con", path: path)]))
        expect(whole(driver.frames)).to eq("con")
      end
    end

    it "are read by the application when they don't exist or are no files" do
      responses = [[200, {}, body("a", path: "/no/such/file")], [200, {}, body("b", path: "/dev/null")], [200, {}, body("c", path: @dir)]]
      serve(->(_env) { responses.shift }, {}, {}, {})
      expect(Array.new(3) { whole(driver.frames) }).to eq(%w[a b c])
    end
  end

  describe "streaming bodies" do
    it "write to a stream until they close it" do
      streaming = lambda do |stream|
        stream.write("a", "b")
        stream << "c"
        stream.flush
        stream.close
      end
      serve(app_returning([200, { "X" => "1" }, streaming]))
      frames = driver.frames
      expect([whole(frames), frames.first.headers, frames.last.type]).to eq(["abc", [%w[X 1]], :end])
    end

    it "may hand the stream to another thread" do
      streaming = ->(stream) { Thread.new { 3.times { |number| stream.write(number.to_s) } and stream.close_write } }
      serve(app_returning([200, {}, streaming]))
      expect(whole(driver.frames)).to eq("012")
    end

    it "end when the client has gone, though another thread writes" do
      threads = []
      streaming = lambda do |stream|
        threads << Thread.new do
          loop { stream.write("x") && sleep(0.001) }
        rescue IOError
          nil
        end
      end
      expect(serve(app_returning([200, {}, streaming])) do
        expect(driver.frame.type).to eq(:head)
        driver.stream.write([1 << 24 | 1].pack("Q<"))
      end).to eq("")
      threads.each { |thread| expect(thread.join(5)).to be(thread) }
    end

    it "may close without having written" do
      serve(app_returning([204, {}, ->(stream) { stream.close }]), {})
      expect(driver.frame).to have_attributes(type: :complete, status: 204)
    end

    it "read the body of the request" do
      driver.request({ "REQUEST_METHOD" => "POST" }, body: "question")
      app = app_returning([200, {}, ->(stream) { stream.write(stream.read) && stream.close }])
      serve(app)
      expect(whole(driver.frames)).to eq("question")
    end

    it "can't write after the end" do
      errors = []
      streaming = lambda do |stream|
        stream.close
        expect(stream).to be_closed
        stream.write("x")
      rescue IOError => e
        errors << e
      end
      serve(app_returning([200, {}, streaming]))
      expect(errors.size).to eq(1)
      expect(driver.frames.map(&:type)).to eq([:complete])
    end

    it "that raise break the response off" do
      log = serve(app_returning([200, {}, ->(stream) { stream.write("a") and raise "in the middle" }]))
      expect(driver.frames.map(&:type)).to eq(%i[head aborted])
      expect(log).to include("in the middle")
    end

    it "are not called for HEAD" do
      serve(app_returning([200, {}, ->(_stream) { raise "called" }]), { "REQUEST_METHOD" => "HEAD" })
      expect(driver.frame.type).to eq(:complete)
    end

    it "are second to each" do
      both = body("each")
      def both.call(_stream) = raise("called")
      serve(app_returning([200, {}, both]))
      expect(whole(driver.frames)).to eq("each")
    end
  end

  describe "failures" do
    it "of the application are answered, logged with the request, and followed by the next request" do
      calls = 0
      app = ->(_env) { (calls += 1) == 1 ? raise(ArgumentError, "boom") : [200, {}, ["fine"]] }
      log = serve(app, { "HTTP_X_REQUEST_ID" => "abc-123", "PATH_INFO" => "/broken" }, {})
      failed = driver.frame
      expect(failed.type).to eq(:failed)
      expect(failed.payload).to start_with("ArgumentError\0boom\0#{__FILE__}:")
      expect(log).to include("ArgumentError: boom", "request abc-123: GET /broken", "process #{Process.pid}", "#{__FILE__}:")
      expect(driver.frame.body).to eq("fine")
      expect(left).to be_empty
    end

    it "are logged with the id of the request's frame when it has no other" do
      expect(serve(->(_env) { raise "boom" })).to include("request 1000001: GET /")
    end

    it "in the middle of a body break the response off and close it" do
      response = body("a", failure: RuntimeError.new("halfway"))
      log = serve(app_returning([200, {}, response]))
      expect(driver.frames.map(&:type)).to eq(%i[head aborted])
      expect(response.closed).to eq(1)
      expect(log).to include("halfway")
    end

    it "before the first chunk of a body are answered and close it" do
      response = body(failure: RuntimeError.new("at once"))
      serve(app_returning([200, {}, response]))
      expect(driver.frame.type).to eq(:failed)
      expect(response.closed).to eq(1)
    end

    it "of headers are answered, logged, and close the body" do
      response = body("a")
      log = serve(app_returning([200, { "X" => "a\rb" }, response]))
      expect(driver.frame.payload).to include("carriage return")
      expect(log).to include("carriage return")
      expect(response.closed).to eq(1)
    end

    it "of close are logged and disturb nothing" do
      response = body("a", on_close: -> { raise "while closing" })
      log = serve(app_returning([200, {}, response]), {}, {})
      expect(log).to include("while closing")
      expect(Array.new(2) { whole(driver.frames) }).to eq(%w[a a])
    end

    it "to return a response are answered" do
      responses = [nil, [], "text", [200]]
      serve(->(_env) { responses.shift }, {}, {}, {}, {})
      expect(Array.new(4) { driver.frame.type }).to eq(%i[failed failed failed failed])
    end

    it "with messages that are no text are answered" do
      error = Class.new(StandardError) { def message = raise("no message") }
      serve(->(_env) { raise error }, {})
      expect(driver.frame.payload).to include("#message raised RuntimeError")
    end

    {
      "exit" => -> { exit(3) }, "an interrupt" => -> { raise Interrupt }, "lack of memory" => -> { raise NoMemoryError }
    }.each do |what, action|
      it "by #{what} are answered, and the worker leaves" do
        serve(->(_env) { action.call })
        expect(driver.frame.type).to eq(:failed)
        expect(left.size).to eq(1)
      end
    end

    it "that are no StandardErrors are answered, and the worker stays" do
      errors = [NotImplementedError.new("later"), SyntaxError.new("oops"), SystemStackError.new("deep")]
      serve(->(_env) { raise errors.shift }, {}, {}, {})
      expect(Array.new(3) { driver.frame.type }).to eq(%i[failed failed failed])
      expect(left).to be_empty
    end

    it "by killing the thread are answered" do
      driver.request
      handler = handler_of(->(_env) { Thread.current.kill })
      expect { Thread.new { handler.run }.join(5) }.to output(/killed/).to_stderr
      expect(driver.frame.type).to eq(:failed)
    end

    it "of a client that has gone are no reason for a log entry" do
      response = body("a", "b")
      app = lambda do |_env|
        [200, {}, Enumerator.new do |yielder|
          yielder << "a"
          driver.notify(:client_gone)
          yielder << "b"
        end]
      end
      expect(serve(app)).to eq("")
      expect(driver.frames.map(&:type)).to eq(%i[head aborted])
      response.close
    end

    it "of a client that has gone are told to an application that takes no notice, again and again" do
      raised = 0
      chatty = Enumerator.new do |yielder|
        yielder << "a"
        driver.notify(:client_gone)
        3.times do
          yielder << "b"
        rescue IOError
          raised += 1
        end
      end
      serve(app_returning([200, {}, chatty]))
      expect(raised).to eq(3)
      expect(driver.frames.map(&:type)).to eq(%i[head end])
    end

    it "of the engine end the handler, close the body and are no reason for a log entry" do
      response = body("a", "b")
      driver.stream.close
      expect(serve(app_returning([200, {}, response]), {}, {})).to eq("")
      expect(response.closed).to eq(1)
      expect(slot).to be_broken
    end
  end

  describe "after the response" do
    it "passes on that the application wants out-of-band work, if it does" do
      serve(->(env) { [200, env["PATH_INFO"] == "/ask" ? { "!~Request-OOB-Work" => "1" } : {}, []] },
            {}, { "PATH_INFO" => "/ask" }, {})
      expect(oob_wanted).to eq([:complete])
    end

    it "calls rack.response_finished in reverse order and rack.after_reply, when the client has it all" do
      calls = []
      app = lambda do |env|
        env["rack.response_finished"] << ->(*arguments) { calls << [:first, driver.frames.map(&:type), *arguments[1..]] }
        env["rack.response_finished"] << ->(*arguments) { calls << [:second, *arguments[1..]] }
        env["rack.after_reply"] << -> { calls << :reply }
        [201, { "X" => "1" }, body("a")]
      end
      serve(app)
      expect(calls).to eq([[:second, 201, { "X" => "1" }, nil], [:first, %i[head end], 201, { "X" => "1" }, nil], :reply])
    end

    it "tells them the error" do
      given = nil
      app = lambda do |env|
        env["rack.response_finished"] << ->(*arguments) { given = arguments }
        raise "boom"
      end
      serve(app)
      expect(given[1..2]).to eq([nil, nil])
      expect(given[3]).to be_a(RuntimeError)
    end

    it "logs what they raise and goes on" do
      called = false
      app = lambda do |env|
        env["rack.after_reply"] << -> { raise "after" } << -> { called = true }
        [200, {}, []]
      end
      expect(serve(app)).to include("after")
      expect(called).to be(true)
    end

    it "removes the temporary files of uploads" do
      file = Tempfile.new("upload")
      path = file.path
      serve(->(env) { (env["rack.tempfiles"] = [file]) && [200, {}, []] })
      expect(File.exist?(path)).to be(false)
    end
  end
end
