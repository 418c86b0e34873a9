# frozen_string_literal: true

require "io/wait"
require_relative "driver"

RSpec.describe "Sending responses" do
  include_context "with a slot"

  let(:invalid) { PhusionPassenger::Native::InvalidResponse }
  let(:disconnected) { PhusionPassenger::Native::Disconnected }

  def respond(status = 200, headers = {}, body = [], **request)
    driver.receive(request.transform_keys(&:to_s))
    slot.respond(status, headers, body)
  end

  describe "a complete response" do
    it "is one frame, however many parts the body has" do
      expect(respond(201, { "X-A" => "1" }, %w[a b c])).to be(true)
      frame = driver.frame
      expect([frame.type, frame.status, frame.id, frame.headers, frame.body]).to eq([:complete, 201, (1 << 24) | 1, [%w[X-A 1]], "abc"])
    end

    it "may be empty" do
      respond
      expect(driver.frame.body).to eq("")
    end

    it "keeps the bytes of any encoding" do
      respond(200, {}, ["é", "\xFF".b, "ü".encode("ISO-8859-1")])
      expect(driver.frame.body).to eq("é".b + "\xFF\xFC".b)
    end

    it "of just under the size of the buffer is whole" do
      body = Array.new(63) { |number| (number % 10).to_s * 1040 }
      respond(200, { "X-Long" => "h" * 2000 }, body)
      expect(driver.frame.body).to eq(body.join)
    end

    it "is not sent for a body that is no Array" do
      expect(respond(200, {}, Enumerator.new { |yielder| yielder << "a" })).to be(false)
      expect(slot.answer).to eq(:pending)
      slot.respond(200, {}, ["b"])
      expect(driver.frame.body).to eq("b")
    end

    it "is refused when the body has something else than strings" do
      expect { respond(200, {}, ["a", 1]) }.to raise_error(invalid, /Integer/)
      expect(slot.answer).to eq(:pending)
    end
  end

  describe "a response that has no body by definition" do
    it "to HEAD sends only the head, whatever the body is" do
      expect(respond(200, { "Content-Length" => "3" }, ["abc"], REQUEST_METHOD: "HEAD")).to be(true)
      frame = driver.frame
      expect([frame.type, frame.headers, frame.body]).to eq([:complete, [%w[Content-Length 3]], ""])
      expect(respond(200, {}, Object.new, REQUEST_METHOD: "HEAD")).to be(true)
    end

    [204, 304].each do |status|
      it "with status #{status} sends only the head" do
        respond(status, { "ETag" => "x" }, ["not to be seen"])
        frame = driver.frame
        expect([frame.type, frame.status, frame.body]).to eq([:complete, status, ""])
      end
    end
  end

  describe "the status" do
    it "may be anything that turns into an integer" do
      respond("404")
      expect(driver.frame.status).to eq(404)
    end

    [nil, "no number", 0, 103, 1000, Object.new].each do |status|
      it "is refused when it is #{status.class} #{status.inspect[0, 20]}" do
        driver.receive
        expect { slot.respond(status, {}, []) }.to raise_error(invalid, /status/)
      end
    end
  end

  describe "headers" do
    def sent(headers)
      respond(200, headers)
      driver.frame.headers
    end

    it "of Rack 2 hold several values, one per line" do
      expect(sent("Set-Cookie" => "a=1\nb=2\n\nc=3\n")).to eq([%w[Set-Cookie a=1], %w[Set-Cookie b=2], %w[Set-Cookie c=3]])
    end

    it "of Rack 3 hold several values in an Array" do
      expect(sent("set-cookie" => %w[a=1 b=2], "x-none" => [])).to eq([%w[set-cookie a=1], %w[set-cookie b=2]])
    end

    it "may be symbols, numbers and nil" do
      expect(sent(Location: "/", "Content-Length" => 0, "X-Nil" => nil, "X-Empty" => ""))
        .to eq([%w[Location /], %w[Content-Length 0], ["X-Empty", ""]])
    end

    it "may be anything with each" do
      expect(sent([%w[A 1], %w[B 2]])).to eq([%w[A 1], %w[B 2]])
      expect(sent({ "A" => "1" }.each)).to eq([%w[A 1]])
    end

    it "that begin with !~ are talk with the server, which never leaves the process" do
      expect(sent("!~Request-OOB-Work" => "true", "!~anything" => "x", "X" => "1")).to eq([%w[X 1]])
      expect(slot).to be_oob_wanted
    end

    {
      "a complete response" => ->(slot, headers) { slot.respond(200, headers, []) },
      "a streamed response" => lambda do |slot, headers|
        slot.write_head(200, headers, nil)
        slot.write_end
      end,
      "a file" => ->(slot, headers) { File.open(__FILE__) { |file| slot.respond_with_file(200, headers, __FILE__, file.fileno) } },
      "a large body" => ->(slot, headers) { slot.respond(200, headers, ["x" * 100_000]) },
      "pairs" => ->(slot, headers) { slot.respond(200, headers.to_a, []) }
    }.each do |what, response|
      it "may ask for out-of-band work with #{what}, in any case of letters" do
        driver.receive
        expect(slot).not_to be_oob_wanted
        response.call(slot, "!~request-oob-WORK" => "1", "x" => "1")
        expect(slot).to be_oob_wanted
        expect(driver.frame.headers).to eq([%w[x 1]])
        driver.receive
        expect(slot).not_to be_oob_wanted
      end
    end

    it "that only look like talk with the server are sent" do
      expect(sent("!x" => "1", "!" => "2", "~!x" => "3")).to eq([%w[!x 1], %w[! 2], %w[~!x 3]])
      expect(slot).not_to be_oob_wanted
    end

    it "that describe the connection, or are meant for the server, are left out" do
      expect(sent("Connection" => "close", "keep-alive" => "5", "Transfer-Encoding" => "gzip", "Upgrade" => "x", "TE" => "x",
                  "Trailer" => "x", "Proxy-Connection" => "x", "Status" => "200", "rack.something" => Object.new, "X" => "1"))
        .to eq([%w[X 1]])
    end

    {
      "a line feed in a name" => [{ "X-A\nB" => "1" }, /0x0a/],
      "a colon in a name" => [{ "X:A" => "1" }, /0x3a/],
      "a space in a name" => [{ "X A" => "1" }, /0x20/],
      "no name" => [{ "" => "1" }, /without a name/],
      "a carriage return in a value" => [{ "X" => "1\r\nSet-Cookie: evil=1" }, /"X" contains a carriage return/],
      "a NUL byte in a value" => [{ "X" => "1\0" }, /NUL/],
      "a line feed in a value of an Array" => [{ "X" => ["1\n2"] }, /line feed/]
    }.each do |what, (headers, text)|
      it "are refused with #{what}" do
        driver.receive
        expect { slot.respond(200, headers, []) }.to raise_error(invalid, text)
        expect(slot.answer).to eq(:pending)
      end
    end

    it "that ask for a partial hijack are left to those who can do that" do
      driver.receive
      [200, 101].each { |status| expect(slot.respond(status, { "rack.hijack" => ->(_) {} }, [])).to be(false) }
      expect(slot.answer).to eq(:pending)
      expect { slot.respond(101, {}, []) }.to raise_error(invalid, /101/)
    end

    it "are refused when they are none" do
      driver.receive
      expect { slot.respond(200, "text", []) }.to raise_error(invalid, /headers/)
    end

    it "whose to_s raises leave the slot usable" do
      bad = Object.new
      def bad.to_s = raise("no")
      driver.receive
      expect { slot.respond(200, { "X" => bad }, []) }.to raise_error(RuntimeError, "no")
      slot.respond(200, { "X" => "1" }, ["fine"])
      expect(driver.frame.body).to eq("fine")
    end
  end

  describe "a streamed response" do
    it "sends every chunk at once" do
      driver.receive
      slot.write_head(200, { "X" => "1" }, "one")
      expect(driver.frame.body).to eq("one")
      slot.write_body("two")
      expect(driver.frame.payload).to eq("two")
      slot.write_end
      expect(driver.frame.type).to eq(:end)
      expect(slot.answer).to eq(:complete)
    end

    it "cuts long chunks and loses nothing" do
      bytes = Random.new(1).bytes(5_000_000)
      driver.receive
      writer = Thread.new do
        slot.write_head(200, {}, bytes.byteslice(0, 2_000_000))
        slot.write_body(bytes.byteslice(2_000_000..))
        slot.write_end
      end
      frames = driver.frames
      writer.join
      expect(frames.first.body + frames[1..-2].map(&:payload).join).to eq(bytes)
      expect(frames.size).to be > 4
    end

    it "waits for a slow reader without holding up other threads" do
      driver.receive
      counter = 0
      writer = Thread.new { slot.write_head(200, {}, "x" * 3_000_000) }
      ticker = Thread.new { loop { counter += 1 and sleep(0.001) } }
      sleep(0.2)
      expect(writer).to be_alive
      expect(counter).to be > 20
      received = 0
      received += driver.frame.payload.bytesize until received >= 3_000_000
      expect(writer.join(5)).to be(writer)
    ensure
      ticker.kill
    end

    it "does not mind when the application changes a chunk meanwhile" do
      driver.receive
      chunk = "x" * 900_000
      writer = Thread.new { slot.write_head(200, {}, chunk) }
      sleep(0.05)
      chunk.tr!("x", "y")
      expect(driver.frame.body).to eq("x" * 900_000)
      writer.join
    end

    it "gives the stream up when an exception cuts a frame in two" do
      driver.receive
      writer = Thread.new { slot.write_head(200, {}, "x" * 3_000_000) }
      writer.report_on_exception = false
      sleep(0.1)
      writer.raise(RuntimeError, "cut")
      expect { writer.join(5) }.to raise_error(RuntimeError, "cut")
      expect(slot).to be_broken
      expect { slot.write_body("more") }.to raise_error(disconnected)
    end

    it "ends when the client has gone" do
      id = driver.receive && slot.request_id
      slot.write_head(200, {}, "one")
      driver.notify(:client_gone, id - 1)
      driver.notify(:client_gone, id)
      expect { slot.write_body("two") }.to raise_error(PhusionPassenger::Native::ClientGone)
      slot.write_aborted
      expect(driver.frames.map(&:type)).to eq(%i[head aborted])
    end

    it "ends in the middle of a long chunk when the client has gone" do
      driver.receive
      writer = Thread.new { slot.write_head(200, {}, "x" * 50_000_000) }
      writer.report_on_exception = false
      expect(driver.frame.type).to eq(:head)
      driver.notify(:client_gone)
      received = 0
      received += driver.frame.payload.bytesize while writer.alive? && driver.stream.wait_readable(0.2)
      expect { writer.join(5) }.to raise_error(PhusionPassenger::Native::ClientGone)
      expect(received).to be < 10_000_000
      expect(slot).not_to be_broken
    end

    it "is not disturbed by the end of an earlier client" do
      id = driver.receive && slot.request_id
      slot.respond(200, {}, [])
      driver.notify(:client_gone, id)
      driver.receive
      slot.write_head(200, {}, "one")
      slot.write_body("two")
      slot.write_end
      expect(driver.frame.type).to eq(:complete)
      expect(driver.frames.map(&:type)).to eq(%i[head body end])
    end
  end

  describe "order" do
    it "does not allow two responses to a request" do
      respond
      expect { slot.respond(200, {}, []) }.to raise_error(RuntimeError, /complete/)
      expect { slot.write_failed("A", "b", "c") }.to raise_error(RuntimeError, /complete/)
    end

    it "does not allow a body before its head, nor a response without a request" do
      driver.receive
      expect { slot.write_body("x") }.to raise_error(RuntimeError, /not begun/)
      expect { SlotDriver.new.tap { |one| @other = one }.slot.respond(200, {}, []) }.to raise_error(RuntimeError, /no request/)
      @other.finish
    end
  end

  describe "when the engine has died" do
    it "raises instead of ending the process by SIGPIPE" do
      driver.receive
      driver.stream.close
      expect { slot.respond(200, {}, ["x"]) }.to raise_error(disconnected)
      expect(slot).to be_broken
    end

    it "raises while it waits for room in the stream" do
      driver.receive
      writer = Thread.new { slot.write_head(200, {}, "x" * 3_000_000) }
      writer.report_on_exception = false
      sleep(0.1)
      driver.stream.close
      expect { writer.join(5) }.to raise_error(disconnected)
    end

    it "receives nothing any more" do
      driver.receive
      driver.stream.close
      expect { slot.respond(200, {}, ["x"]) }.to raise_error(disconnected)
      driver.request
      expect(slot.receive).to be_nil
    end
  end

  it "turns texts of failures into three parts" do
    driver.receive
    slot.write_failed("A\0B", "m" * 100_000, "")
    parts = driver.frame.payload.split("\0", -1)
    expect(parts).to eq(["A?B", "m" * 65_536, ""])
  end
end
