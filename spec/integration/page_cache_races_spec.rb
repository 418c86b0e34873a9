# frozen_string_literal: true

require_relative "../support/static_site"

# A page is written and removed over and over while sixteen connections read it. Every page tells its round, and carries a
# checksum; all have the same length.
RSpec.describe "cached pages that are read while they are written" do
  rounds = 1_000
  readers = 16
  size = 40_000

  def page(round, size)
    body = format("round %08d ", round).ljust(size - 65, Digest::SHA256.hexdigest(round.to_s))
    "#{body} #{Digest::SHA256.hexdigest(body)}"
  end

  # The round of a page, or nil for an answer of the application; anything else is what this is about.
  def round_of(response, size)
    return if Harness::StaticSite.by_app?(response)

    body, sum = response.body[0...-65], response.body[-64..]
    unless response.status == 200 && response.body.bytesize == size && Digest::SHA256.hexdigest(body) == sum
      raise "no whole page: #{response.status}, #{response.body.bytesize} bytes"
    end

    body[/\d+/].to_i
  end

  # Reads until it is told to stop. What it finds wrong is its result. Whoever asks after a page has been removed may not get it.
  def reader(cuts_allowed, size)
    Thread.new do
      Thread.current.report_on_exception = false
      client = nil
      hits = 0
      until @done
        client ||= server.connect
        begin
          gone = @gone
          round = round_of(client.get("/page"), size)
          raise "round #{round} was there after it had been removed (#{gone})" if round && round <= gone

          hits += 1 if round
        rescue Harness::HTTPClient::ConnectionEnded
          raise unless cuts_allowed

          client.close
          client = nil
        end
      end
      hits
    ensure
      client&.close
    end
  end

  def race(readers, size, cuts_allowed: false)
    @done = false
    @gone = 0
    threads = Array.new(readers) { reader(cuts_allowed, size) }
    begin
      server.connect { |client| yield client }
    ensure
      @done = true
      threads.each { |thread| thread.join(30) }
    end
    threads.sum(&:value)
  end

  def write_in_two_pieces(path, content)
    File.open(path, "wb") do |file|
      file.write(content[0, content.bytesize / 2])
      file.flush
      file.write(content[content.bytesize / 2..])
    end
  end

  def write_and_rename(path, content)
    File.binwrite("#{path}.new", content)
    File.rename("#{path}.new", path)
  end

  serve "canary", max_pool_size: 2, thread_count: 4

  before { @path = File.join(server.directory, "public", "page.html") }

  { "in two pieces into their place" => :write_in_two_pieces, "apart and then renamed" => :write_and_rename }.each do |how, write|
    it "are whole or not there when they are written #{how}, and never there after they have been removed" do
      hits = race(readers, size) do |client|
        (1..rounds).each do |round|
          send(write, @path, page(round, size))
          expect(round_of(client.get("/page"), size)).to eq(round)
          File.delete(@path)
          @gone = round
          expect(client.get("/page")).to by_app
        end
      end
      expect(hits).to be_positive
    end
  end

  it "are whole and the newest when each replaces the one before by its name" do
    hits = race(readers, size) do |client|
      (1..rounds / 4).each do |round|
        write_and_rename(@path, page(round, size))
        @gone = round - 1
        expect(round_of(client.get("/page"), size)).to eq(round)
      end
    end
    expect(hits).to be_positive
  end

  # Here the page that is being sent may be cut off under the server's hands; the client must be able to tell.
  it "are whole or visibly cut off when each is written over the one before" do
    race(readers, size, cuts_allowed: true) do |client|
      (1..rounds / 4).each do |round|
        write_in_two_pieces(@path, page(round, size))
        @gone = round - 1
        expect(round_of(client.get("/page"), size)).to eq(round)
      end
    end
  end
end
