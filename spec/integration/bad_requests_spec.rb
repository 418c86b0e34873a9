# frozen_string_literal: true

RSpec.describe "bad requests" do
  serve "recorder", max_pool_size: 1

  HOST = "Host: localhost\r\n"
  # Would be taken for a request of its own by a server that is confused about where the one before ends.
  SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"

  def requests
    path = File.join(server.directory, "requests")
    File.exist?(path) ? File.readlines(path, chomp: true) : []
  end

  # The answer to bytes that are no request, and the proof that nothing of them has reached the application, that the
  # connection is given up and that the server goes on.
  def refusal_of(bytes)
    before = requests.size
    server.connect(within: 8) do |client|
      client.offer(bytes)
      response = client.read_response
      expect(client.ended?).to be(true), "a connection that may be out of step has to be closed"
      expect(server.get("/after").body).to eq("served /after")
      expect(requests.drop(before)).to eq(["GET /after 0"])
      response
    end
  end

  def self.refuses(table, *statuses)
    table.each do |description, bytes|
      it "is refused with #{statuses.join(" or ")}: #{description}" do
        expect(refusal_of(bytes).status).to satisfy("be one of #{statuses}") { |status| statuses.include?(status) }
      end
    end
  end

  describe "in the request line" do
    refuses({
      "a word alone" => "HELLO\r\n\r\n",
      "no target" => "GET HTTP/1.1\r\n#{HOST}\r\n",
      "no method" => " /x HTTP/1.1\r\n#{HOST}\r\n",
      "HTTP/0.9" => "GET /x\r\n\r\n",
      "a method with a bracket" => "GE(T /x HTTP/1.1\r\n#{HOST}\r\n",
      "a tab for a space" => "GET\t/x HTTP/1.1\r\n#{HOST}\r\n",
      "a target without a slash" => "GET x HTTP/1.1\r\n#{HOST}\r\n",
      "a NUL in the target" => "GET /x\0y HTTP/1.1\r\n#{HOST}\r\n",
      "a control character in the target" => "GET /x\x01y HTTP/1.1\r\n#{HOST}\r\n",
      "a bare CR in the target" => "GET /x\ry HTTP/1.1\r\n#{HOST}\r\n",
      "an asterisk for another method than OPTIONS" => "GET * HTTP/1.1\r\n#{HOST}\r\n",
      "binary rubbish" => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".b
    }, 400)

    # Where the version should be, there is something else: a bad line, or a version nobody knows.
    refuses({
      "a space in the target" => "GET /x y HTTP/1.1\r\n#{HOST}\r\n",
      "no number in the version" => "GET /x HTTP/one\r\n#{HOST}\r\n",
      "another protocol" => "GET /x FTP/1.1\r\n#{HOST}\r\n",
      "the protocol in small letters" => "GET /x http/1.1\r\n#{HOST}\r\n"
    }, 400, 505)

    refuses({
      "HTTP/2.0 without negotiation" => "GET /x HTTP/2.0\r\n#{HOST}\r\n",
      "HTTP/3.7" => "GET /x HTTP/3.7\r\n#{HOST}\r\n"
    }, 505)

    refuses({
      "a target of 100 KB" => "GET /#{"x" * 100_000} HTTP/1.1\r\n#{HOST}\r\n",
      "a query of 1 MB" => "GET /x?#{"q" * 1_000_000} HTTP/1.1\r\n#{HOST}\r\n"
    }, 414, 431)
  end

  describe "in the headers" do
    refuses({
      "no Host in HTTP/1.1" => "GET /x HTTP/1.1\r\n\r\n",
      "two Hosts" => "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "a Host with a space" => "GET /x HTTP/1.1\r\nHost: a b\r\n\r\n",
      "a Host with a path" => "GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n",
      "a Host with a user" => "GET /x HTTP/1.1\r\nHost: a@b\r\n\r\n",
      "a Host with a port that is none" => "GET /x HTTP/1.1\r\nHost: a:b\r\n\r\n",
      "a Host with half a bracket" => "GET /x HTTP/1.1\r\nHost: [::1\r\n\r\n",
      "a space before the colon" => "GET /x HTTP/1.1\r\n#{HOST}X-Foo : bar\r\n\r\n",
      "a tab before the colon" => "GET /x HTTP/1.1\r\n#{HOST}X-Foo\t: bar\r\n\r\n",
      "a space in a name" => "GET /x HTTP/1.1\r\n#{HOST}X Foo: bar\r\n\r\n",
      "a line without a colon" => "GET /x HTTP/1.1\r\n#{HOST}X-Foo\r\n\r\n",
      "an empty name" => "GET /x HTTP/1.1\r\n#{HOST}: bar\r\n\r\n",
      "a folded line" => "GET /x HTTP/1.1\r\n#{HOST}X-Foo: bar\r\n baz\r\n\r\n",
      "a folded line at the start" => "GET /x HTTP/1.1\r\n Host: a\r\n#{HOST}\r\n",
      "a NUL in a value" => "GET /x HTTP/1.1\r\n#{HOST}X-Foo: b\0r\r\n\r\n",
      "a NUL in a name" => "GET /x HTTP/1.1\r\n#{HOST}X-F\0o: bar\r\n\r\n",
      "a bare CR in a value" => "GET /x HTTP/1.1\r\n#{HOST}X-Foo: b\rX-Bar: r\r\n\r\n",
      "a control character in a value" => "GET /x HTTP/1.1\r\n#{HOST}X-Foo: b\x01r\r\n\r\n",
      "a bracket in a name" => "GET /x HTTP/1.1\r\n#{HOST}X-F(oo: bar\r\n\r\n"
    }, 400)

    refuses({
      "one header of 1 MB" => "GET /x HTTP/1.1\r\n#{HOST}X-Foo: #{"x" * 1_000_000}\r\n\r\n",
      "headers of 1 MB in all" => "GET /x HTTP/1.1\r\n#{HOST}#{(1..200).map { |n| "X-#{n}: #{"x" * 5000}\r\n" }.join}\r\n"
    }, 431)
  end

  describe "with bare line feeds" do
    refuses({
      "after a header" => "GET /x HTTP/1.1\r\nHost: localhost\nX-Foo: bar\r\n\r\n",
      "hiding a header" => "POST /x HTTP/1.1\r\n#{HOST}X-Foo: bar\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" \
                           "0\r\n\r\n#{SMUGGLED}",
      "after a chunk size" => "POST /x HTTP/1.1\r\n#{HOST}Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
      "after a chunk" => "POST /x HTTP/1.1\r\n#{HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n"
    }, 400)
  end

  describe "about the length of the body" do
    refuses({
      "Transfer-Encoding and Content-Length" =>
        "POST /x HTTP/1.1\r\n#{HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n#{SMUGGLED}",
      "Content-Length and Transfer-Encoding" =>
        "POST /x HTTP/1.1\r\n#{HOST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n#{SMUGGLED}",
      "two different lengths" => "POST /x HTTP/1.1\r\n#{HOST}Content-Length: 5\r\nContent-Length: 50\r\n\r\nhello#{SMUGGLED}",
      "two different lengths in one line" => "POST /x HTTP/1.1\r\n#{HOST}Content-Length: 5, 50\r\n\r\nhello#{SMUGGLED}",
      "a negative length" => "POST /x HTTP/1.1\r\n#{HOST}Content-Length: -5\r\n\r\nhello",
      "a length with a sign" => "POST /x HTTP/1.1\r\n#{HOST}Content-Length: +5\r\n\r\nhello",
      "a length in hexadecimal" => "POST /x HTTP/1.1\r\n#{HOST}Content-Length: 0x5\r\n\r\nhello",
      "a length with a space in it" => "POST /x HTTP/1.1\r\n#{HOST}Content-Length: 5 0\r\n\r\nhello",
      "a length with a letter" => "POST /x HTTP/1.1\r\n#{HOST}Content-Length: 5x\r\n\r\nhello",
      "an empty length" => "POST /x HTTP/1.1\r\n#{HOST}Content-Length:\r\n\r\nhello",
      "a length with an underscore" => "POST /x HTTP/1.1\r\n#{HOST}Content-Length: 1_0\r\n\r\nhello",
      "a length with a dot" => "POST /x HTTP/1.1\r\n#{HOST}Content-Length: 5.0\r\n\r\nhello"
    }, 400)

    refuses({
      "a length beyond all numbers" => "POST /x HTTP/1.1\r\n#{HOST}Content-Length: 99999999999999999999\r\n\r\nhello"
    }, 400, 413)

    refuses({
      "an unknown coding" => "POST /x HTTP/1.1\r\n#{HOST}Transfer-Encoding: gzip\r\n\r\n#{SMUGGLED}",
      "an unknown coding before chunked" => "POST /x HTTP/1.1\r\n#{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      "chunked, but not last" => "POST /x HTTP/1.1\r\n#{HOST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
      "chunked twice" => "POST /x HTTP/1.1\r\n#{HOST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
      "chunked in two lines" =>
        "POST /x HTTP/1.1\r\n#{HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
      "almost chunked" => "POST /x HTTP/1.1\r\n#{HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n#{SMUGGLED}",
      "chunked with a control character" => "POST /x HTTP/1.1\r\n#{HOST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
      "chunked in HTTP/1.0" => "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n#{SMUGGLED}"
    }, 400, 501)

    it "is accepted when the same length is given twice, or refused, but never misread" do
      server.connect do |client|
        client.write("POST /x HTTP/1.1\r\n#{HOST}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello")
        expect(client.read_response.status).to eq(200).or(eq(400))
        expect(client.stray_bytes).to eq("")
      end
    end
  end

  describe "in chunked bodies" do
    def self.chunked(rest)
      "POST /x HTTP/1.1\r\n#{HOST}Transfer-Encoding: chunked\r\n\r\n#{rest}"
    end

    refuses({
      "letters for a size" => chunked("zz\r\nhello\r\n0\r\n\r\n"),
      "no size" => chunked("\r\nhello\r\n0\r\n\r\n"),
      "a negative size" => chunked("-5\r\nhello\r\n0\r\n\r\n"),
      "a size with a sign" => chunked("+5\r\nhello\r\n0\r\n\r\n"),
      "a size with 0x" => chunked("0x5\r\nhello\r\n0\r\n\r\n"),
      "a size beyond all numbers" => chunked("fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
      "a size that wraps around" => chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"),
      "a chunk longer than announced" => chunked("5\r\nhello and more\r\n0\r\n\r\n"),
      "no line end after a chunk" => chunked("5\r\nhello0\r\n\r\n#{SMUGGLED}"),
      "a size with a space before it" => chunked(" 5\r\nhello\r\n0\r\n\r\n"),
      "an endless chunk extension" => chunked("5;#{"x" * 1_000_000}\r\nhello\r\n0\r\n\r\n")
    }, 400)

    it "is refused with 400 or 431: trailers of 1 MB" do
      expect(refusal_of(self.class.chunked("0\r\nX-T: #{"x" * 1_000_000}\r\n\r\n")).status).to eq(400).or(eq(431))
    end
  end

  describe "that are never finished" do
    it "do not reach the application when the client vanishes in the middle of the headers" do
      before = requests.size
      server.connect { |client| client.write("GET /x HTTP/1.1\r\nHost: loc").close }
      server.connect { |client| client.write("GET /x HTTP/1.1\r\nHost: loc").reset }
      expect(server.get("/after").status).to eq(200)
      expect(requests.drop(before)).to eq(["GET /after 0"])
    end

    it "do not reach the application when the client vanishes in the middle of the body" do
      before = requests.size
      [10, 300_000].each do |sent|
        head = "POST /x HTTP/1.1\r\n#{HOST}Content-Length: 400000\r\n\r\n"
        server.connect { |client| client.write(head, "x" * sent).close }
        server.connect { |client| client.write(head, "x" * sent).reset }
      end
      server.connect { |client| client.write("POST /x HTTP/1.1\r\n#{HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nhel").close }
      expect(server.get("/after").status).to eq(200)
      expect(requests.drop(before)).to eq(["GET /after 0"])
    end
  end

  it "give the reason as a short page and set no cookie" do
    response = refusal_of("GET /x HTTP/1.1\r\n\r\n")
    expect(response["connection"]).to eq("close")
    expect(response.body.bytesize).to be_between(1, 2000)
    expect(response["content-type"]).to match(%r{\Atext/(plain|html)})
  end

  it "are refused behind a good request of the same connection too" do
    server.connect do |client|
      client.offer("GET /good HTTP/1.1\r\n#{HOST}\r\nGET /bad HTTP/1.1\r\n#{HOST}X-Foo : bar\r\n\r\n#{SMUGGLED}")
      expect(client.read_response.body).to eq("served /good")
      expect(client.read_response.status).to eq(400)
      expect(client.ended?).to be(true)
    end
    expect(requests).not_to include(/smuggled/)
  end
end
