# frozen_string_literal: true

require_relative "../../../bench/bench"

RSpec.describe Bench::Wrk do
  def output(extra = "")
    <<~TEXT
      Running 5s test @ http://127.0.0.1:40833/
        1 threads and 32 connections
        Thread Stats   Avg      Stdev     Max   +/- Stdev
          Latency     1.23ms    0.98ms  36.94ms   97.01%
          Req/Sec    27.31k     1.93k   30.02k    71.43%
        Latency Distribution
           50%  987.00us
           75%    1.31ms
           90%    1.90ms
           99%    1.20s
        136543 requests in 5.03s, 19.27MB read
      #{extra}Requests/sec:  27145.73
      Transfer/sec:      3.83MB
    TEXT
  end

  it "reads requests, time, rate and percentiles" do
    report = described_class.parse(output)

    expect(report.requests).to eq 136_543
    expect(report.seconds).to be_within(1e-9).of(5.03)
    expect(report.requests_per_second).to eq 27_145.73
    expect(report.bytes_per_second).to be_within(1).of(3.83 * 1024 * 1024)
    expect(report.p50).to be_within(1e-9).of(0.000987)
    expect(report.p99).to be_within(1e-9).of(1.2)
  end

  it "counts no errors when wrk mentions none" do
    expect(described_class.parse(output).error_count).to eq 0
  end

  it "tells every kind of error apart" do
    report = described_class.parse(output("  Socket errors: connect 1, read 20, write 0, timeout 3\n  Non-2xx or 3xx responses: 7\n"))

    expect(report.errors).to eq(connect: 1, read: 20, timeout: 3, status: 7)
    expect(report.error_count).to eq 31
    expect(report.faults.last).to eq "7 × a status other than 2xx or 3xx"
  end

  it "understands every unit of time that wrk prints" do
    { "250.00us" => 0.00025, "1.50ms" => 0.0015, "2.00s" => 2.0, "1.50m" => 90.0, "1.00h" => 3600.0 }.each do |text, seconds|
      expect(described_class.parse(output.sub("1.31ms", "1.31ms").sub("1.20s", text)).p99).to be_within(1e-9).of(seconds)
    end
  end

  it "understands every unit of size that wrk prints" do
    { "512.00B" => 512, "1.50KB" => 1536, "2.00MB" => 2 * 1024**2, "1.25GB" => 1.25 * 1024**3 }.each do |text, bytes|
      expect(described_class.parse(output.sub("3.83MB", text)).bytes_per_second).to be_within(1e-6).of(bytes)
    end
  end

  it "refuses a run without a single request, since nothing can be said about it" do
    empty = output.sub("136543 requests", "0 requests")

    expect { described_class.parse(empty) }.to raise_error(Bench::Error, /no request at all/)
  end

  it "names what is missing in output that it can't read" do
    expect { described_class.parse("unable to connect to 127.0.0.1:1 Connection refused\n") }
      .to raise_error(Bench::Error, /does not tell the number of requests:\nunable to connect/)
    expect { described_class.parse(output.sub("99%    1.20s", "99%    soon")) }
      .to raise_error(Bench::Error, /a time that can't be read: "soon"/)
  end

  it "asks for latencies and bounds the run" do
    wrk = described_class.new("http://127.0.0.1:1/", connections: 16, duration: 2)

    expect(wrk.command).to include("--latency").and include("16").and include("2s").and include("--timeout")
    expect(wrk.command.last).to eq "http://127.0.0.1:1/"
  end

  it "sends headers with every request, or has a script choose the requests" do
    wrk = described_class.new("http://127.0.0.1:1/", connections: 16, duration: 2, threads: 2, headers: { "Accept-Encoding" => "gzip" },
                                                     script: "/random.lua", arguments: ["7"])

    expect(wrk.command).to include("2").and include("Accept-Encoding: gzip")
    expect(wrk.command.last(5)).to eq ["Accept-Encoding: gzip", "-s", "/random.lua", "http://127.0.0.1:1/", "7"]
  end
end
