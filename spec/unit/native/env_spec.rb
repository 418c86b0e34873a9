# frozen_string_literal: true

require "rack"
require "uri"
require_relative "driver"

RSpec.describe "The Rack environment" do
  include_context "with a slot"

  def lint(env)
    app = ->(_env) { [200, { "content-type" => "text/plain" }, ["fine"]] }
    _, _, body = Rack::Lint.new(app).call(env)
    body.each { nil }
    body.close
  end

  it "satisfies Rack::Lint" do
    env = driver.receive({ "HTTP_ACCEPT" => "*/*" })
    expect { lint(env) }.not_to raise_error
  end

  it "satisfies Rack::Lint with a body in the message" do
    env = driver.receive({ "REQUEST_METHOD" => "POST", "CONTENT_LENGTH" => "3" }, body: "abc")
    expect { lint(env) }.not_to raise_error
  end

  it "satisfies Rack::Lint with a body in a file" do
    Tempfile.create("body") do |file|
      file.write("abc")
      file.rewind
      env = driver.receive({ "REQUEST_METHOD" => "POST", "CONTENT_LENGTH" => "3" }, file: file)
      expect { lint(env) }.not_to raise_error
    end
  end

  it "has binary values and the names of the application's own literals" do
    env = driver.receive({ "PATH_INFO" => "/\xC3\xA9".b, "HTTP_X_MOOD" => "\xFF".b })
    expect(env["PATH_INFO"]).to eq("/\xC3\xA9".b)
    expect(env["HTTP_X_MOOD"].encoding).to eq(Encoding::BINARY)
    expect(env.keys).to all(be_frozen)
    expect(env.keys.find { |key| key == "HTTP_HOST" }).to equal("HTTP_HOST")
  end

  it "gives every request its own values, which the application may change" do
    first = driver.receive({ "PATH_INFO" => "/a", "HTTP_COOKIE" => "k=v" })
    first["PATH_INFO"] << "changed"
    first["HTTP_COOKIE"].force_encoding("UTF-8")
    first["rack.after_reply"] << -> {}
    first["new"] = 1
    slot.respond(200, {}, [])
    second = driver.receive({ "PATH_INFO" => "/a" })
    expect(second).to include("PATH_INFO" => "/a", "rack.after_reply" => [], "rack.response_finished" => [])
    expect(second).not_to include("new", "HTTP_COOKIE")
  end

  it "follows values that usually stay the same when they do change" do
    expect(driver.receive({ "REQUEST_METHOD" => "GET", "SERVER_NAME" => "a" })).to include("REQUEST_METHOD" => "GET")
    slot.respond(200, {}, [])
    expect(driver.receive({ "REQUEST_METHOD" => "PUT", "SERVER_NAME" => "b" }))
      .to include("REQUEST_METHOD" => "PUT", "SERVER_NAME" => "b")
  end

  it "says https where the connection was" do
    expect(driver.receive(flags: 2)).to include("rack.url_scheme" => "https", "HTTPS" => "on")
    slot.respond(200, {}, [])
    expect(driver.receive).to include("rack.url_scheme" => "http").and(satisfy { |env| !env.key?("HTTPS") })
  end

  it "carries a header of 100 KB" do
    expect(driver.receive({ "HTTP_X_LONG" => "y" * 100_000 })["HTTP_X_LONG"]).to eq("y" * 100_000)
  end

  describe "rack.input" do
    it "is empty and rewindable without a body" do
      input = driver.receive["rack.input"]
      expect([input.read, input.read(10), input.gets, input.each.to_a, input.read(0)]).to eq(["", nil, nil, [], ""])
      input.rewind
      buffer = +"left over"
      expect(input.read(5, buffer)).to be_nil
      expect(buffer).to eq("")
      expect(input.read(nil, buffer)).to equal(buffer)
    end

    it "is binary and rewindable with a small body" do
      input = driver.receive({ "REQUEST_METHOD" => "POST" }, body: "one\ntwo\xFF")["rack.input"]
      expect(input.gets).to eq("one\n")
      input.rewind
      expect(input.read).to eq("one\ntwo\xFF".b)
      expect(input.external_encoding).to eq(Encoding::BINARY)
    end

    it "is a binary file with a large body, closed after the response" do
      Tempfile.create("body") do |file|
        file.write("z" * 300_000)
        file.rewind
        input = driver.receive({ "REQUEST_METHOD" => "POST" }, file: file)["rack.input"]
        expect(input.read(10)).to eq("z" * 10)
        input.rewind
        expect(input.read.bytesize).to eq(300_000)
        expect([input.external_encoding, input.close_on_exec?]).to eq([Encoding::BINARY, true])

        slot.respond(200, {}, [])
        driver.end_queue
        slot.receive
        expect(input).to be_closed
      end
    end

    it "may have been closed by the application" do
      Tempfile.create("body") do |file|
        file.write("z")
        file.rewind
        driver.receive({ "REQUEST_METHOD" => "POST" }, file: file)["rack.input"].close
        slot.respond(200, {}, [])
        expect(driver.receive).to include("REQUEST_METHOD" => "GET")
      end
    end
  end

  # Objects, not bytes. The table of the environment, an array for each of the two lists of callbacks, rack.hijack,
  # and the strings that differ from request to request; what creeps in here is paid by every request.
  it "costs as many objects as there are values, and four" do
    varying = SlotDriver::REQUEST.size - 5 # method, protocol, name and port are reused; the query is empty
    GC.disable
    allocated = Array.new(5) do
      driver.request
      before = GC.stat(:total_allocated_objects)
      env = slot.receive
      objects = GC.stat(:total_allocated_objects) - before
      expect(env.size).to be >= 20
      slot.respond(200, {}, [])
      objects
    end
    expect(allocated.min).to be <= varying + 4
  ensure
    GC.enable
  end

  describe "when the message breaks the protocol" do
    let(:error) { PhusionPassenger::Native::ProtocolError }

    def message(version: 1, type: 1, fields: "", announced: fields.bytesize, body_length: 0, flags: 0)
      [version, type, flags, 0, announced, 1 << 24, body_length, 0].pack("CCCCVQ<Q<Q<") + fields
    end

    {
      "another version" => [{ version: 2 }, /version 2 .* speaks version 1/],
      "another type" => [{ type: 9 }, /type 9/],
      "a list of fields that is too long" => [{ announced: 50 }, /fields is cut off/],
      "a value that is too long" => [{ fields: [1, 10].pack("CV") + "GET" }, /field is cut off/],
      "a name that is too long" => [{ fields: [0, 10].pack("Cv") + "HTTP" }, /name is cut off/],
      "a field that ends in its length" => [{ fields: "\x01\x00" }, /length of a field is cut off/],
      "an unknown number" => [{ fields: [255, 0].pack("CV") }, /field 255/],
      "a body that is missing" => [{ body_length: 5 }, /body is cut off/],
      "a descriptor that is missing" => [{ flags: 1, body_length: 5 }, /descriptor of the body is missing/]
    }.each do |what, (changes, text)|
      it "refuses #{what}" do
        driver.put(message(**changes))
        expect { slot.receive }.to raise_error(error, text)
      end
    end

    it "gives an environment or a ProtocolError for any bytes" do
      random = Random.new(RSpec.configuration.seed)
      golden = %w[request_get request_post_inline request_body_fd].map do |name|
        File.binread(File.expand_path("../../fixtures/frames/#{name}.bin", __dir__))
      end
      outcomes = Hash.new(0)
      3_000.times do
        bytes = golden.sample(random: random).dup
        random.rand(1..4).times { bytes.setbyte(random.rand(bytes.bytesize), random.rand(256)) }
        bytes = bytes.byteslice(0, random.rand(1..bytes.bytesize)) if random.rand < 0.2
        driver.put(bytes)
        begin
          outcomes[slot.receive.class] += 1
        rescue error
          outcomes[error] += 1
        end
      end
      expect(outcomes.keys).to contain_exactly(Hash, error)
    end

    it "refuses a message without a header" do
      driver.put("short")
      expect { slot.receive }.to raise_error(error, /5 bytes/)
    end

    it "closes a descriptor that came with it" do
      reader, writer = IO.pipe
      driver.put(message(version: 3), [writer])
      writer.close
      expect { slot.receive }.to raise_error(error)
      expect(reader.read).to eq("") # would wait for ever if the slot had kept the other end
      reader.close
    end
  end
end
