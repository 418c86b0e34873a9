# frozen_string_literal: true

require "io/wait"
require_relative "driver"

# Large bodies, which the worker writes onto the client's socket by itself.
RSpec.describe "Handing over large bodies" do
  include_context "with a slot"

  let(:small) { 200_000 } # fits into a connection's buffers
  let(:large) { 60_000_000 } # does not
  let(:links) { -> { Dir.glob("/proc/self/fd/*").select { |fd| File.symlink?(fd) }.map { |fd| File.readlink(fd) } } }

  before do
    listener = TCPServer.new("127.0.0.1", 0)
    @client = Socket.new(:INET, :STREAM)
    @client.setsockopt(:SOCKET, :RCVBUF, 65_536) # keeps the kernel from taking megabytes for a client that does not read
    @client.connect(listener.local_address)
    @socket = listener.accept
    listener.close
  end

  after do
    @responding.kill.join(5) if @responding&.alive?
    [@client, @socket].each { |io| io.close unless io.closed? }
  end

  def bytes(size) = (@bytes ||= {})[size] ||= Random.new(size).bytes(size)

  # The response is sent by a thread of its own; returns the offer.
  def offered(*parts)
    driver.receive
    respond(*parts)
    driver.frame
  end

  # The engine's answer lies there before the offer is made, so that it is in time on the busiest machine.
  def taken(*parts)
    driver.receive
    driver.notify(:socket, socket: @socket)
    respond(*parts)
    expect(driver.frame.type).to eq(:offer)
  end

  def respond(*parts)
    @responding = Thread.new { slot.respond(200, { "X" => "1" }, parts) }
    @responding.report_on_exception = false
  end

  # What the client reads up to the end of the connection.
  def reading
    Thread.new do
      all = "".b
      loop do
        @client.wait_readable(10) or raise "nothing comes after #{all.bytesize} bytes"
        all << @client.readpartial(1_048_576)
      end
    rescue EOFError, Errno::ECONNRESET
      all
    end
  end

  def outcome
    frame = driver.frame
    expect(frame.type).to eq(:sent)
    frame.payload.unpack1("Q<")
  end

  # The body frames up to the end of the response.
  def rest
    *body, last = driver.frames
    expect(body.map(&:type).uniq - [:body]).to eq([])
    [body.map(&:payload).join, last.type]
  end

  def finished
    @responding.join(10) or raise "the worker is stuck: #{@responding.backtrace.join("\n")}"
    @responding.value
  end

  it "begins with an offer that says how long the body is" do
    offer = offered("a" * 65_535, "b")
    expect([offer.type, offer.status, offer.headers, offer.body.unpack1("Q<")]).to eq([:offer, 200, [%w[X 1]], 65_536])
    driver.notify(:no_socket)
    expect(outcome).to eq(0)
    expect(rest).to eq(["a" * 65_535 + "b", :end])
    expect(finished).to be(true)
    expect(slot.answer).to eq(:complete)
  end

  it "is not for bodies below 64 KiB" do
    driver.receive
    slot.respond(200, {}, ["a" * 65_535])
    expect(driver.frame.type).to eq(:complete)
  end

  it "writes all that a client takes, and nothing twice" do
    parts = bytes(large).unpack("a1000a20000000a*")
    client = reading
    taken(*parts)
    sent = outcome
    remainder, type = rest
    finished
    @socket.close # the last reference: the worker has let go of its own
    expect(type).to eq(:end)
    expect(sent).to be > 65_536
    expect(client.value.b + remainder == bytes(large)).to be(true)
    expect(sent + remainder.bytesize).to eq(large)
  end

  it "leaves the rest to the engine when a client is slow, and does not wait for it" do
    start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    taken(bytes(large))
    sent = outcome
    expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - start).to be < 1
    remainder, type = rest
    finished
    expect(type).to eq(:end)
    expect(sent).to be_between(1, large - 1)
    client = reading
    @socket.close
    expect(client.value == bytes(large).byteslice(0, sent)).to be(true)
    expect(remainder == bytes(large).byteslice(sent..)).to be(true)
  end

  it "is over in a moment even with a client that takes a little now and then" do
    dripping = Thread.new { loop { @client.readpartial(50_000) and sleep(0.004) } }
    dripping.report_on_exception = false
    start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    taken(bytes(large))
    sent = outcome
    expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - start).to be < 1
    expect(sent).to be < large
    expect(rest.first.bytesize).to eq(large - sent)
  ensure
    dripping.kill.join(5)
  end

  it "sends everything through the stream when the engine does not answer in time" do
    offered(bytes(small))
    expect(outcome).to eq(0)
    expect(rest).to eq([bytes(small), :end])
    finished
  end

  it "does not use a socket that comes too late, nor keep it" do
    offered(bytes(small))
    expect(outcome).to eq(0)
    expect(rest).to eq([bytes(small), :end])
    finished
    driver.notify(:socket, socket: @socket)
    driver.receive # the next request settles this one
    client = reading
    @socket.close
    expect(client.value).to eq("")
  end

  it "does not take the late answer to an earlier offer for one to the next" do
    offered(bytes(small))
    earlier = slot.request_id
    outcome
    rest
    finished
    driver.receive # before the answer comes
    driver.notify(:socket, earlier, socket: @socket)
    respond(bytes(small))
    expect(driver.frame.type).to eq(:offer)
    driver.notify(:client_gone, earlier)
    driver.notify(:no_socket)
    expect(outcome).to eq(0)
    expect(rest).to eq([bytes(small), :end])
    finished
    client = reading
    @socket.close
    expect(client.value).to eq("")
  end

  it "closes a socket that nobody has offered anything for" do
    driver.receive
    slot.write_head(200, {}, "one")
    driver.notify(:socket, socket: @socket)
    @socket.close
    client = reading
    slot.write_body("two")
    slot.write_end
    expect(client.value).to eq("")
    expect(driver.frames.map(&:type)).to eq(%i[head body end])
  end

  it "ends the response when the client goes away while it is written" do
    @client.setsockopt(Socket::Option.linger(true, 0)) # a reset instead of an orderly end
    @client.close
    taken(bytes(large))
    expect(outcome).to be < large
    expect(rest).to eq(["", :end])
    expect(finished).to be(true)
    expect(slot.answer).to eq(:complete)
  end

  it "sends no rest that nobody wants any more" do
    driver.receive
    # There before the offer is made: what comes later than 20 ms after it finds the worker at sending the rest.
    driver.notify(:client_gone)
    driver.notify(:no_socket)
    respond(bytes(large))
    expect(driver.frame.type).to eq(:offer)
    expect(outcome).to eq(0)
    expect { finished }.to raise_error(PhusionPassenger::Native::ClientGone)
    slot.write_aborted
    expect(driver.frame.type).to eq(:aborted)
  end

  it "ends when the engine dies before it has answered" do
    offered(bytes(small))
    driver.stream.close
    expect { finished }.to raise_error(PhusionPassenger::Native::Disconnected)
    expect(slot).to be_broken
  end

  it "ends when the engine dies while the worker writes, and lets go of the client" do
    taken(bytes(large))
    driver.stream.close
    @socket.close
    expect { finished }.to raise_error(PhusionPassenger::Native::Disconnected)
    expect(bytes(large)).to start_with(reading.value)
  end

  { "an exception" => ->(thread) { thread.raise("cut") }, "its end" => :kill.to_proc }.each do |what, interrupt|
    it "says what it has written before #{what} comes to its thread, and lets go of the client" do
      driver # its sockets are there before
      before = links.call.grep(/socket/).size
      taken(bytes(large))
      interrupt.call(@responding) # while it waits for a client that does not read
      sent = outcome
      begin
        finished
      rescue RuntimeError => e
        expect(e.message).to eq("cut")
      end
      expect(links.call.grep(/socket/).size).to be <= before
      client = reading
      @socket.close
      expect(client.value == bytes(large).byteslice(0, sent)).to be(true)
    end
  end

  it "does not mind when the application changes its strings meanwhile" do
    parts = Array.new(20) { |number| (number % 10).to_s * 100_000 }
    [parts.first(1), parts].each do |body|
      expected = body.join
      offered(*body)
      body.each { |part| part.tr!("0-9", "x") }
      GC.start
      GC.compact if GC.respond_to?(:compact)
      driver.notify(:no_socket)
      outcome
      expect(rest.first == expected).to be(true)
      finished
    end
  end

  it "leaves no descriptor open" do
    round = proc do
      taken(bytes(small))
      @client.read(outcome)
      rest
      finished
    end
    round.call
    before = links.call.size
    5.times(&round)
    expect(links.call.size).to eq(before)
  end

  it "does without a socket that the worker has no room for" do
    limit = Process.getrlimit(:NOFILE)
    driver.receive
    driver.notify(:socket, socket: @socket)
    highest = Dir.children("/proc/self/fd").map(&:to_i).max
    fillers = []
    Process.setrlimit(:NOFILE, highest + 1, limit.last)
    begin
      loop { fillers << IO.sysopen(File::NULL) }
    rescue Errno::EMFILE
      respond(bytes(small))
    end
    expect(driver.frame.type).to eq(:offer)
    expect(outcome).to eq(0)
    expect(rest).to eq([bytes(small), :end])
  ensure
    Process.setrlimit(:NOFILE, *limit)
    fillers.each { |fd| PhusionPassenger::Native.close_fd(fd) }
  end

  it "is not offered for responses without a body" do
    driver.receive({ "REQUEST_METHOD" => "HEAD" })
    slot.respond(200, {}, [bytes(small)])
    [204, 304].each do |status|
      driver.receive
      slot.respond(status, {}, [bytes(small)])
    end
    frames = Array.new(3) { driver.frame }
    expect(frames.map { |frame| [frame.type, frame.body] }).to all(eq([:complete, ""]))
  end
end
