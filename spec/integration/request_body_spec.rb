# frozen_string_literal: true

require "digest"

RSpec.describe "a request body" do
  serve "echo", max_pool_size: 1

  TEXT = "first line\nsecond line\n\nlast without end"

  def chunked(text, size: 5, extension: "")
    text.b.scan(/.{1,#{size}}/mn).map { |piece| "#{piece.bytesize.to_s(16)}#{extension}\r\n#{piece}\r\n" }.join + "0\r\n\r\n"
  end

  def post_chunked(target, encoded)
    server.connect do |client|
      client.write("POST #{target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", encoded)
      client.read_response
    end
  end

  describe "in rack.input" do
    it "is read as a whole, then gives an empty string, and nil for a number of bytes" do
      expect(server.post("/input/read", TEXT).json).to include("body" => TEXT, "again" => "", "beyond" => nil)
    end

    it "is read in pieces of a given length" do
      expect(server.post("/input/pieces", "0123456789abcdefg").json).to include("pieces" => %w[0123456 789abcd efg])
    end

    it "is read into a buffer of the application's" do
      expect(server.post("/input/buffer", "0123456789").json).to include("buffer" => "0123", "same" => true, "end" => nil)
    end

    it "is read line by line with gets" do
      expect(server.post("/input/gets", TEXT).json).to include("lines" => TEXT.lines)
    end

    it "is read line by line with each" do
      expect(server.post("/input/each", TEXT).json).to include("lines" => TEXT.lines)
    end

    it "is rewound and read again" do
      expect(server.post("/input/twice", TEXT).json).to include("first" => TEXT, "second" => TEXT)
    end

    it "is rewound and read again when it is large" do
      body = "line of text\n" * 40_000
      expect(server.post("/input/twice", body).json).to include("first" => body, "second" => body)
    end

    it "is empty for a length of zero" do
      expect(server.post("/input/read", "").json).to include("body" => "", "CONTENT_LENGTH" => "0")
    end
  end

  describe "with a Content-Length" do
    # Around the sizes where buffers and transports change: pages, pipes, the longest queue message, spooling to a file.
    [1, 8_191, 65_536, 131_072, 190_000, 196_608, 196_609, 262_144, 1_048_577, 5_000_000].each do |size|
      it "of #{size} bytes arrives complete" do
        body = Random.new(size).bytes(size)
        expect(server.post("/input/digest", body).json)
          .to include("size" => size, "sha256" => Digest::SHA256.hexdigest(body), "CONTENT_LENGTH" => size.to_s)
      end
    end

    it "arrives complete when it comes in many small pieces" do
      server.connect do |client|
        client.write("POST /input/read HTTP/1.1\r\nHost: x\r\nContent-Length: #{TEXT.bytesize}\r\n\r\n")
        TEXT.each_char { |byte| client.write(byte) }
        expect(client.read_response.json).to include("body" => TEXT)
      end
    end

    it "comes with any method" do
      %w[PUT PATCH DELETE GET].each do |method|
        server.connect do |client|
          client.request(method, "/input/read", body: "for #{method}")
          expect(client.read_response.json).to include("body" => "for #{method}")
        end
      end
    end

    it "that the application does not read leaves the connection in order" do
      server.connect do |client|
        expect(client.post("/input/ignore", "x" * 300_000).status).to eq(200)
        expect(client.post("/input/ignore", "GET /smuggled HTTP/1.1\r\n\r\n").status).to eq(200)
        expect(client.get("/hello").body).to eq("hello")
        expect(client.stray_bytes).to eq("")
      end
    end
  end

  describe "in chunks" do
    it "is decoded, with its length known and no sign of the chunks" do
      expect(post_chunked("/input/read", chunked(TEXT)).json)
        .to include("body" => TEXT, "CONTENT_LENGTH" => TEXT.bytesize.to_s, "HTTP_TRANSFER_ENCODING" => nil)
    end

    it "is decoded without extensions and trailers" do
      encoded = chunked("some text", extension: ";name=value").sub("0\r\n\r\n", "0\r\nX-Trailer: evil\r\n\r\n")
      expect(post_chunked("/input/read", encoded).json).to include("body" => "some text", "CONTENT_LENGTH" => "9")
    end

    it "is decoded with sizes in either case and with leading zeros" do
      expect(post_chunked("/input/read", "0A\r\n0123456789\r\n00c\r\nabcdefghijkl\r\n0\r\n\r\n").json)
        .to include("body" => "0123456789abcdefghijkl")
    end

    it "may be empty" do
      expect(post_chunked("/input/read", "0\r\n\r\n").json).to include("body" => "", "HTTP_TRANSFER_ENCODING" => nil)
    end

    it "may be large" do
      body = Random.new(7).bytes(1_500_000)
      expect(post_chunked("/input/digest", chunked(body, size: 40_000)).json)
        .to include("size" => body.bytesize, "sha256" => Digest::SHA256.hexdigest(body))
    end

    it "arrives complete when it comes byte by byte" do
      server.connect do |client|
        client.write("POST /input/read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunked("slow text").each_char { |byte| client.write(byte) }
        expect(client.read_response.json).to include("body" => "slow text")
      end
    end

    it "is followed by the next request of the connection" do
      server.connect do |client|
        client.write("POST /input/read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", chunked("one"),
                     "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        expect(client.read_response.json).to include("body" => "one")
        expect(client.read_response.body).to eq("hello")
      end
    end
  end

  describe "that waits for 100 Continue" do
    def head(length, target: "/input/read")
      "POST #{target} HTTP/1.1\r\nHost: x\r\nContent-Length: #{length}\r\nExpect: 100-continue\r\n\r\n"
    end

    it "is asked for with a well-formed interim response" do
      server.connect do |client|
        client.write(head(5))
        expect(client.read_status_line.first(2)).to eq(["HTTP/1.1", 100])
        expect(client.read_headers).to eq([])
        client.write("hello")
        expect(client.read_response.json).to include("body" => "hello")
      end
    end

    it "may be sent without waiting" do
      server.connect do |client|
        client.write(head(5), "hello")
        expect(client.read_response.json).to include("body" => "hello")
        expect(client.get("/hello").body).to eq("hello")
      end
    end

    it "may be large" do
      server.connect do |client|
        client.write(head(400_000, target: "/input/digest"))
        expect(client.read_status_line[1]).to eq(100)
        client.read_headers
        client.write("x" * 400_000)
        expect(client.read_response.json).to include("size" => 400_000)
      end
    end

    it "is not asked for from a client of HTTP/1.0" do
      server.connect do |client|
        client.write("POST /input/read HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
        response = client.read_response
        expect(response.informational).to eq([])
        expect(response.json).to include("body" => "hello")
      end
    end
  end

  it "leaves no temporary file behind" do
    server.post("/input/digest", "x" * 2_000_000)
    expect(Dir.children(Harness::Suite.temporary_files)).to eq([])
  end
end
