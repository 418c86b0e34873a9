# frozen_string_literal: true

require_relative "../../../bench/bench"
require_relative "../../../bench/harness/pool/connection"

RSpec.describe Bench::Pool::Load do
  # Answers requests with the texts given, one after the other, on one connection at a time; :close ends the connection instead, :reset
  # breaks it off, and so does the end of the list.
  def serving(answers)
    server = TCPServer.new("127.0.0.1", 0)
    thread = Thread.new { loop { serve(server.accept, answers) } }
    launch = Bench::Launch.new(host: "127.0.0.1", port: server.addr[1])
    yield Struct.new(:launch).new(launch)
  ensure
    thread&.kill&.join
    server&.close
  end

  def serve(client, answers)
    while client.gets("\r\n\r\n")
      answer = answers.shift || :close
      return if answer == :close
      return client.setsockopt(Socket::Option.linger(true, 0)) if answer == :reset

      client.write(answer)
      return if answer.include?("Connection: close") || answer.include?("half")
    end
  rescue Errno::ECONNRESET, Errno::EPIPE
    nil # The load has ended.
  ensure
    client.close
  end

  def ok(body = "1 2 3\n")
    "HTTP/1.1 200 OK\r\nContent-Length: #{body.bytesize}\r\n\r\n#{body}"
  end

  def group(**fields)
    Bench::Pool::Group.new(name: "all", connections: 1, path: "/", **fields)
  end

  # Loads until everything that the server has got to say has been asked for, however slow the machine is.
  def load_until(server, **fields, &condition)
    described_class.during(server, [group(**fields)]) do
      Bench::Clock.wait_until(10, &condition) or raise "this did not happen within 10 s"
    end.fetch(:all)
  end

  it "counts answers and keeps what the application says about them" do
    answers = Array.new(3) { ok }
    serving(answers) do |server|
      outcome = load_until(server, runs: true) { answers.empty? }

      expect(outcome.answered).to eq 3
      expect(outcome.runs.uniq).to eq [[1, 2, 3]]
      expect([outcome.p50, outcome.p99, outcome.max]).to all be_positive
    end
  end

  it "tells a connection that is closed between requests from one that is closed instead of an answer" do
    answers = [ok.sub("\r\n", "\r\nConnection: close\r\n"), ok, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", :close, :reset]
    serving(answers) do |server|
      outcome = load_until(server) { answers.empty? }

      expect(outcome.answered).to eq 2
      expect(outcome.closed).to eq 1
      expect(outcome.failures.keys).to contain_exactly("within the response: closed", "before the response: closed", "before the response: ECONNRESET")
      expect(outcome.failures).to include("within the response: closed" => 1, "before the response: ECONNRESET" => 1)
      expect(outcome.failed).to eq outcome.failures.values.sum
    end
  end

  it "counts statuses other than 200 as failures, on a connection that goes on" do
    bad = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno"
    answers = [bad, bad, ok]
    serving(answers) do |server|
      outcome = load_until(server) { answers.empty? }

      expect(outcome.failures).to include("status 502" => 2)
      expect([outcome.answered, outcome.closed]).to eq [1, 0]
    end
  end

  it "says that nobody listens" do
    server = Struct.new(:launch).new(Bench::Launch.new(host: "127.0.0.1", port: Bench::Server.free_port))
    outcome = described_class.run(server, [group(connections: 2)], 0.1).fetch(:all)

    expect(outcome.failures.keys).to eq ["no connection: ECONNREFUSED"]
    expect(outcome.failed).to be >= 2
    expect([outcome.answered, outcome.p99]).to eq [0, nil]
  end

  it "ends the load when the block fails" do
    serving(Array.new(100_000) { ok }) do |server|
      load = nil
      expect do
        described_class.during(server, [group(interval: 0.01)]) do |running|
          load = running
          raise Bench::Error, "it did not work"
        end
      end.to raise_error(Bench::Error, "it did not work")
      expect(load.pid).to be_nil
    end
  end

  describe Bench::Pool::Response do
    def fed(*pieces)
      pieces.reduce(described_class.new) { |response, piece| response << piece }
    end

    it "is complete with the last byte of its length, however it arrives" do
      response = fed("HTTP/1.1 200 OK\r\nConte", "nt-Length: 5\r\n\r", "\nhel")
      expect(response).not_to be_complete
      response << "lo"

      expect(response).to be_complete
      expect([response.status, response.body]).to eq [200, "hello"]
      expect(response).to be_keep_alive
    end

    it "understands chunks, and bodies that end with the connection" do
      chunked = fed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "0\r\n\r\n")
      open = fed("HTTP/1.1 503 No\r\n\r\nhel")
      expect(chunked).to be_complete.and be_keep_alive
      expect(open).not_to be_complete
      open.finish

      expect(open).to be_complete
      expect(open).not_to be_keep_alive
    end

    it "does not take the end of the connection for the end of a body that has a length" do
      response = fed("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
      response.finish

      expect(response).not_to be_complete
    end

    it "refuses what is no response, and more than one" do
      expect { fed("SSH-2.0-x\r\n\r\n") }.to raise_error(Bench::Pool::Unreadable, /SSH/)
      expect { fed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab") }.to raise_error(Bench::Pool::Unreadable, /more than one/)
    end
  end
end
