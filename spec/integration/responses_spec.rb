# frozen_string_literal: true

RSpec.describe "responses" do
  CONTENT = "0123456789abcdef" * 1024

  serve "responses", max_pool_size: 1

  def records
    path = File.join(server.directory, "records")
    File.exist?(path) ? File.readlines(path, chomp: true) : []
  end

  # What has been recorded since the last call.
  def new_records
    @seen ||= 0
    records.drop(@seen)
  end

  before { @seen = records.size }

  def expect_record(line)
    eventually(-> { "the record #{line.inspect} (there are #{new_records})" }) { new_records.include?(line) }
  end

  def write_file(name, content)
    Harness::Apps.write(server.directory, name, content)
  end

  describe "bodies" do
    it "that are Arrays are sent with their length" do
      response = server.get("/bare-array")
      expect(response).to have_attributes(status: 200, reason: "OK", body: "onetwothree", framing: :length)
      expect(response["content-type"]).to eq("text/plain")
      expect(response["content-length"]).to eq("11")
    end

    it "that only respond to each are sent completely" do
      expect(server.get("/each").body).to eq("onetwothree")
      expect_record("closed each")
    end

    it "of a declared length are sent with it" do
      expect(server.get("/each-with-length")).to have_attributes(body: "onetwothree", framing: :length)
    end

    it "with empty pieces do not end early" do
      expect(server.get("/each-with-empty-pieces").body).to eq("onetwo")
    end

    it "of several megabytes are sent completely, from an Array and from each" do
      expect(server.get("/large-array").body).to eq(CONTENT * 200)
      expect(server.get("/large-each").body).to eq(CONTENT * 200)
    end

    it "that are Enumerators are sent completely" do
      expect(server.get("/enumerator").body).to eq(Array.new(100) { |number| "piece #{number}\n" }.join)
    end

    it "that are empty leave the connection usable" do
      server.connect do |client|
        expect(client.get("/empty")).to have_attributes(status: 200, body: "")
        expect(client.get("/empty-each")).to have_attributes(status: 200, body: "")
        expect(client.get("/hello").body).to eq("hello")
      end
    end

    it "count bytes, not characters" do
      response = server.get("/bare-unicode")
      expect(response["content-length"]).to eq("7")
      expect(response.body).to eq("Grüße".b)
    end

    it "that are callable write to the stream they are given" do
      server.connect do |client|
        expect(client.get("/stream").body).to eq("onetwothree")
        expect(client.get("/stream-with-length").body).to eq("onetwo")
        expect(client.get("/stream-operators").body).to eq("onetwo")
        expect(client.get("/hello").body).to eq("hello")
      end
      expect_record("stream closed")
    end

    it "that the application has put in chunks itself arrive decoded once" do
      server.connect do |client|
        expect(client.get("/chunked-by-app").body).to eq("onetwo!")
        expect(client.get("/hello").body).to eq("hello")
      end
    end

    it "reach the client piece by piece, before the body is complete" do
      gate = File.join(server.directory, "gate-pieces")
      server.connect do |client|
        client.request("GET", "/broken/waits?for=gate-pieces")
        received = +""
        response = client.read_response do |piece|
          received << piece
          File.write(gate, "") if received.bytesize >= CONTENT.bytesize
        end
        expect(response.status).to eq(200)
        expect(received).to eq(CONTENT * 3)
      end
    end
  end

  describe "bodies that are files" do
    { "empty" => 0, "small" => 100, "large" => 5_000_000 }.each do |kind, size|
      it "are sent without reading them in Ruby when #{kind}" do
        content = Random.new(size).bytes(size)
        write_file("file-#{kind}", content)
        server.connect do |client|
          response = client.get("/file?name=file-#{kind}")
          expect(response).to have_attributes(status: 200, body: content, framing: :length)
          expect(client.get("/hello").body).to eq("hello")
        end
        expect_record("closed file")
        expect(new_records).not_to include("each file")
      end
    end

    it "are sent with the length that the application has given" do
      write_file("file-known", "known length")
      expect(server.get("/file-with-length?name=file-known")).to have_attributes(body: "known length", framing: :length)
    end

    it "answer HEAD with the length alone" do
      write_file("file-head", "x" * 100)
      server.connect do |client|
        expect(client.head("/file-with-length?name=file-head")["content-length"]).to eq("100")
        expect(client.get("/hello").body).to eq("hello")
      end
    end

    it "that do not exist give an error and leave the connection in order" do
      server.connect do |client|
        expect(client.get("/broken/missing-file").status).to be_between(500, 502)
        expect(client.get("/hello").body).to eq("hello")
      end
    end
  end

  describe "without a body" do
    it "answer HEAD with the headers of GET" do
      server.connect do |client|
        get = client.get("/array")
        head = client.head("/array")
        expect(head.status).to eq(200)
        expect(head["content-type"]).to eq(get["content-type"])
        expect(client.head("/head-length")["content-length"]).to eq("5")
        expect(client.get("/hello").body).to eq("hello")
      end
    end

    it "send no body to HEAD even if the application gives one" do
      server.connect do |client|
        expect(client.head("/broken/body-on-head").status).to eq(200)
        expect(client.get("/hello").body).to eq("hello")
        expect(client.stray_bytes).to eq("")
      end
      expect_record("closed on head")
    end

    it "have neither length nor type with status 204, and keep other headers" do
      server.connect do |client|
        response = client.get("/no-content")
        expect(response).to have_attributes(status: 204, reason: "No Content")
        expect(response["x-kept"]).to eq("yes")
        expect(response.header_lines.map(&:first)).not_to include("content-length", "content-type", "transfer-encoding")
        expect(client.get("/hello").body).to eq("hello")
      end
    end

    it "keep their validators with status 304" do
      server.connect do |client|
        response = client.get("/not-modified")
        expect(response.status).to eq(304)
        expect(response["etag"]).to eq('"v1"')
        expect(response["cache-control"]).to eq("no-cache")
        expect(response.all("transfer-encoding")).to eq([])
        expect(client.get("/hello").body).to eq("hello")
      end
    end

    %w[204 304].each do |status|
      it "drop a body that the application gives with status #{status}" do
        server.connect do |client|
          expect(client.get("/broken/body-on-#{status}").status).to eq(status.to_i)
          expect(client.get("/hello").body).to eq("hello")
          expect(client.stray_bytes).to eq("")
        end
        expect_record("closed on #{status}")
      end
    end
  end

  describe "headers" do
    it "keep several cookies apart" do
      expect(server.get("/cookies").all("set-cookie")).to eq(["a=1; path=/", "b=2; HttpOnly"])
    end

    it "keep several values of any header" do
      expect(server.get("/links").all("link")).to eq(["</a>; rel=prev", "</b>; rel=next"])
    end

    it "arrive in great number" do
      response = server.get("/many-headers")
      expect((1..200).map { |number| response["x-number-#{number}"] }).to all(eq("v" * 100))
    end

    it "have one Date, the server's, also where the application gives another" do
      now = /\A\w{3}, \d\d \w{3} #{Time.now.utc.year} \d\d:\d\d:\d\d GMT\z/
      expect(server.get("/hello").all("date")).to match([now])
      expect(server.get("/date").all("date")).to match([now])
    end

    it "do not tell the world which software runs here" do
      response = server.get("/hello")
      expect(response.header_lines.map(&:first)).not_to include("x-powered-by", "server", "status", "x-runtime")
    end

    it "that belong to the connection or to Rack stay with the server" do
      server.connect do |client|
        response = client.get("/broken/hop-by-hop")
        expect(response).to have_attributes(status: 200, body: "clean")
        expect(response.header_lines.map(&:first)).not_to include("keep-alive", "status", "rack.internal")
        expect(client.get("/hello").body).to eq("hello") unless response["connection"] == "close"
      end
    end

    %w[crlf-value cr-value nul-value crlf-name crlf-location space-name].each do |kind|
      it "cannot be split by the application's data (#{kind})" do
        server.connect do |client|
          response = client.get("/broken/#{kind}")
          expect(response.status).to eq(500).or(eq(502))
          expect(response.header_lines.map(&:first)).not_to include("x-injected")
          expect(response.body).not_to include("split")
          expect(client.get("/hello").body).to eq("hello")
        end
        eventually("a line in the log about the header") { server.said.match?(/header/i) }
      end
    end
  end

  describe "statuses" do
    { 201 => "Created", 302 => "Found", 404 => "Not Found", 418 => nil, 422 => nil, 500 => "Internal Server Error",
      503 => "Service Unavailable", 599 => nil }.each do |code, reason|
      it "of #{code} are passed on with their body" do
        response = server.get("/status?code=#{code}")
        expect(response).to have_attributes(status: code, body: "status #{code}")
        expect(response.reason).to eq(reason) if reason
      end
    end

    it "of a redirect keep the location" do
      expect(server.get("/redirect")).to have_attributes(status: 302)
      expect(server.get("/redirect")["location"]).to eq("/elsewhere")
    end

    %w[interim-status status-100 status-0 status-word nil].each do |kind|
      it "that are none are an error of the application (#{kind})" do
        server.connect do |client|
          response = client.get("/broken/#{kind}")
          expect(response.status).to eq(500).or(eq(502))
          expect(response.informational).to eq([])
          expect(client.get("/hello").body).to eq("hello")
        end
      end
    end
  end

  describe "with a Content-Length that is wrong" do
    # The client must be able to tell: either an error, or a connection that ends before the declared length, or
    # exactly that length. Never anything after it.
    def consequences(target)
      server.connect do |client|
        client.request("GET", target)
        response = client.read_response
        if response.status == 200 && (announced = response["content-length"])
          expect(response.body.bytesize).to eq(announced.to_i)
        end
        expect(client.get("/hello").body).to eq("hello") unless response["connection"] == "close" || client.ended_already?
        client.stray_bytes
      end
    rescue Harness::HTTPClient::ConnectionEnded
      ""
    end

    %w[short-array long-array short-each long-each short-stream long-stream short-large long-large nonsense-length
       negative-length two-lengths].each do |kind|
      it "never confuse the next response of the connection (#{kind})" do
        expect(consequences("/broken/#{kind}")).to eq("")
        expect(server.get("/hello").body).to eq("hello")
      end
    end

    it "never confuse the next response of the connection (wrong length of a file)" do
      write_file("file-wrong", "longer than five")
      expect(consequences("/broken/wrong-file-length?name=file-wrong")).to eq("")
    end

    it "end the connection when the body is too short, so that the client notices" do
      server.connect do |client|
        client.request("GET", "/broken/short-each")
        expect { raise Harness::HTTPClient::ConnectionEnded if client.read_response.status >= 500 }
          .to raise_error(Harness::HTTPClient::ConnectionEnded)
      end
    end

    it "never pass on more than announced" do
      server.connect do |client|
        client.request("GET", "/broken/long-each")
        response = client.read_response
        expect(response.body).to eq("12345") if response.status == 200
      end
    end

    it "are an entry in the log" do
      server.get("/broken/long-array")
      eventually("a line in the log about the length") { server.said.match?(/content-length/i) }
    end
  end

  describe "that fail" do
    it "give 500 when the application raises, and the connection goes on" do
      server.connect do |client|
        expect(client.get("/raise").status).to eq(500)
        expect(client.get("/hello").body).to eq("hello")
      end
    end

    it "give 500 when the body raises before its first piece" do
      expect(server.get("/broken/each-raises-first").status).to eq(500).or(eq(502))
      expect_record("closed raises")
    end

    %w[each-raises-midway each-raises-with-length stream-raises].each do |kind|
      it "in the middle of the body cut the connection off instead of looking complete (#{kind})" do
        server.connect do |client|
          client.request("GET", "/broken/#{kind}")
          expect { raise Harness::HTTPClient::ConnectionEnded if client.read_response.status >= 500 }
            .to raise_error(Harness::HTTPClient::ConnectionEnded)
        end
        expect(server.get("/hello").body).to eq("hello")
      end
    end

    it "when the body is closed have been complete before" do
      expect(server.get("/broken/close-raises").body).to eq("all well")
      expect(server.get("/hello").body).to eq("hello")
      eventually("the failure in the log") { server.said.include?("close broke") }
    end

    it "because there is no body that could be iterated give an error" do
      %w[string-body].each do |kind|
        response = server.get("/broken/#{kind}")
        expect(response.status).to eq(500).or(eq(200))
      end
      expect(server.get("/hello").body).to eq("hello")
    end
  end

  describe "closing" do
    it "happens after each, after a broken each and for HEAD" do
      server.get("/each")
      expect_record("closed each")
      server.head("/each")
      eventually("a second close") { new_records.count("closed each") == 2 }
      server.connect do |client|
        client.request("GET", "/broken/each-raises-midway")
        client.read_to_end
      end
      expect_record("closed raises")
    end

    it "happens once for each response" do
      server.connect { |client| 5.times { client.get("/each") } }
      server.get("/hello")
      eventually("five closes") { new_records.count("closed each") >= 5 }
      expect(new_records.count("closed each")).to eq(5)
    end

    it "happens when the client has gone away" do
      server.connect do |client|
        client.request("GET", "/broken/waits?for=gate-closing")
        client.read_status_line
        client.reset
      end
      File.write(File.join(server.directory, "gate-closing"), "")
      expect_record("closed waits")
      expect(server.get("/hello").body).to eq("hello")
    end
  end

  describe "finished" do
    it "call rack.response_finished in reverse order with environment, status, headers and no error" do
      response = server.get("/finished")
      skip "this server does not offer rack.response_finished" if response.body == "none" && ENV["SPEC_SERVER"]
      expect(response.body).to eq("some")
      expect_record("finished true 200 marked NilClass")
      expect(new_records.index("finished last, called first")).to be < new_records.index("finished true 200 marked NilClass")
    end

    it "call rack.after_reply" do
      expect(server.get("/after-reply").body).to eq("some")
      expect_record("after reply")
    end
  end
end
