# frozen_string_literal: true

RSpec.describe "the Rack environment" do
  serve "echo", max_pool_size: 1

  def env(target = "/env", method: "GET", **rest)
    server.connect do |client|
      client.request(method, target, **rest)
      response = client.read_response(to: method)
      expect(response.status).to eq(200), -> { "#{response.inspect}\n#{server.tail}" }
      response.json
    end
  end

  def raw(request)
    server.connect { |client| client.write(request).read_response.json }
  end

  describe "of an ordinary request" do
    it "has the request's method, path, query and URI" do
      expect(env("/some/path?a=1&b=%20")).to include(
        "REQUEST_METHOD" => "GET", "SCRIPT_NAME" => "", "PATH_INFO" => "/some/path", "QUERY_STRING" => "a=1&b=%20",
        "REQUEST_URI" => "/some/path?a=1&b=%20"
      )
    end

    it "has an empty query string when there is none" do
      expect(env("/env")).to include("QUERY_STRING" => "", "REQUEST_URI" => "/env")
    end

    it "has the client's real address and port" do
      server.connect do |client|
        expect(client.get("/env").json).to include("REMOTE_ADDR" => "127.0.0.1", "REMOTE_PORT" => client.local_port.to_s)
      end
    end

    it "takes the server's name and port from the Host header" do
      expect(env("/", "Host" => "shop.example:8080"))
        .to include("SERVER_NAME" => "shop.example", "SERVER_PORT" => "8080", "HTTP_HOST" => "shop.example:8080")
    end

    it "has port 80 when the Host header names none" do
      expect(env("/", "Host" => "shop.example"))
        .to include("SERVER_NAME" => "shop.example", "SERVER_PORT" => "80", "HTTP_HOST" => "shop.example")
    end

    it "understands an IPv6 address in the Host header" do
      expect(env("/", "Host" => "[::1]:8080")).to include("SERVER_NAME" => "[::1]", "SERVER_PORT" => "8080")
      expect(env("/", "Host" => "[2001:db8::7]")).to include("SERVER_NAME" => "[2001:db8::7]", "SERVER_PORT" => "80")
    end

    it "names the protocol of the request" do
      expect(env("/env")).to include("SERVER_PROTOCOL" => "HTTP/1.1")
      expect(env("/env", version: "1.0")).to include("SERVER_PROTOCOL" => "HTTP/1.0")
    end

    it "is complete without a Host header in HTTP/1.0" do
      without = env("/env", version: "1.0")
      expect(without).not_to include("HTTP_HOST")
      expect(without).to include("SERVER_NAME" => be_a(String).and(match(/./)), "SERVER_PORT" => server.port.to_s)
    end

    it "names the server software" do
      expect(env["SERVER_SOFTWARE"]).to match(/passenger/i)
    end

    it "says how the application runs" do
      expect(env).to include("rack.url_scheme" => "http", "rack.multithread" => false, "rack.multiprocess" => true,
                             "rack.run_once" => false)
    end

    it "says that the server sends files, and leaves files that bodies name to it" do
      expect(env).to include("HTTP_X_SENDFILE_TYPE" => "X-Sendfile", "sendfile.type" => "")
    end

    it "has the streams of Rack" do
      expect(env["classes"]).to include("rack.errors")
      body = server.post("/env", "x", "Content-Type" => "text/plain").json
      expect(body["classes"]).to include("rack.input")
    end

    it "tells the body's type and length by the names without HTTP_" do
      described = server.post("/env", "12345", "Content-Type" => "text/x-test").json
      expect(described).to include("CONTENT_TYPE" => "text/x-test", "CONTENT_LENGTH" => "5")
      expect(described.keys).not_to include("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH")
    end

    it "has no CONTENT_LENGTH and no CONTENT_TYPE without a body" do
      expect(env.keys).not_to include("CONTENT_LENGTH", "CONTENT_TYPE")
    end

    it "holds no secret of the server" do
      expect(env.keys.grep(/password|secret|key/i)).to eq([])
    end

    it "is the same in the second request of a connection, without traces of the first" do
      server.connect do |client|
        client.get("/first?q=1", "X-Only-First" => "yes", "Cookie" => "a=1")
        second = client.get("/second").json
        expect(second).to include("PATH_INFO" => "/second", "QUERY_STRING" => "")
        expect(second.keys).not_to include("HTTP_X_ONLY_FIRST", "HTTP_COOKIE")
      end
    end
  end

  describe "of unusual request targets" do
    %w[/%65nv //env /a//b /a/../b /a/./b /%2e%2e/x /a%2Fb /a;b=c /a%00b /%C3%BC /~x/!$&'()*+,=:@ /ends/with/].each do |path|
      it "passes the path #{path} on untouched" do
        expect(env(path)).to include("PATH_INFO" => path, "REQUEST_URI" => path)
      end
    end

    it "splits the query at the first question mark" do
      expect(env("/x??a=b?c")).to include("PATH_INFO" => "/x", "QUERY_STRING" => "?a=b?c")
    end

    it "takes host and path from a target in absolute form, over the Host header" do
      described = env("http://other.example:81/abs/path?q=1", "Host" => "wrong.example")
      expect(described).to include("PATH_INFO" => "/abs/path", "QUERY_STRING" => "q=1", "SERVER_NAME" => "other.example",
                                   "SERVER_PORT" => "81", "HTTP_HOST" => "other.example:81")
    end

    it "takes an absolute form without path as the root" do
      expect(env("http://other.example")).to include("PATH_INFO" => "/", "HTTP_HOST" => "other.example")
      expect(env("http://other.example?x=y")).to include("PATH_INFO" => "/", "QUERY_STRING" => "x=y")
    end

    it "does not let the scheme of an absolute form decide the scheme of the connection" do
      expect(env("https://other.example/")).to include("rack.url_scheme" => "http")
    end

    it "passes OPTIONS * on" do
      # The path is * since Rack 3.1; Rack 2's Lint wants it empty.
      expect(env("*", method: "OPTIONS"))
        .to include("REQUEST_METHOD" => "OPTIONS", "REQUEST_URI" => "*", "PATH_INFO" => eq("").or(eq("*")))
    end

    it "never gives the application a fragment" do
      response = server.get("/x#fragment")
      expect(response.status).to eq(400).or(eq(200))
      expect(response.json["PATH_INFO"]).to eq("/x") if response.status == 200
    end

    it "passes methods of any name on" do
      %w[PUT PATCH DELETE OPTIONS PROPFIND PURGE X-CUSTOM].each do |method|
        expect(env("/env", method: method)).to include("REQUEST_METHOD" => method)
      end
    end
  end

  describe "of request headers" do
    it "has them in capitals with HTTP_ in front" do
      expect(env("/", "X-Some-Header" => "value", "accept-LANGUAGE" => "de"))
        .to include("HTTP_X_SOME_HEADER" => "value", "HTTP_ACCEPT_LANGUAGE" => "de")
    end

    it "trims white space around values and keeps it inside" do
      expect(raw("GET / HTTP/1.1\r\nHost: x\r\nX-Spaced: \t two  words \t\r\nX-Empty:\r\n\r\n"))
        .to include("HTTP_X_SPACED" => "two  words", "HTTP_X_EMPTY" => "")
    end

    it "passes bytes beyond ASCII on unchanged" do
      expect(env("/", "X-Name" => "Jörg")).to include("HTTP_X_NAME" => "Jörg")
    end

    it "drops names with an underscore, which could pose as those with a hyphen" do
      described = env("/", "X_Forwarded_For" => "6.6.6.6", "X-Kept" => "1", "Content_Type" => "text/evil", "_" => "x")
      expect(described).to include("HTTP_X_KEPT" => "1")
      expect(described.keys).not_to include("HTTP_X_FORWARDED_FOR", "CONTENT_TYPE", "HTTP_CONTENT_TYPE", "HTTP__")
    end

    it "drops Proxy, which programs take for the variable HTTP_PROXY, and nothing that only resembles it" do
      described = env("/", "Proxy" => "http://evil.example", "X-Proxy" => "a", "Proxy-Authorization" => "b")
      expect(described.keys).not_to include("HTTP_PROXY")
      expect(described).to include("HTTP_X_PROXY" => "a", "HTTP_PROXY_AUTHORIZATION" => "b")
    end

    it "drops what would tell Rack::Sendfile how the server sends files: that is not the client's to say" do
      described = env("/", "X-Sendfile-Type" => "X-Accel-Redirect", "X-Accel-Mapping" => "/etc/=/files/", "X-Sendfile-Other" => "a")
      expect(described).to include("HTTP_X_SENDFILE_TYPE" => "X-Sendfile", "HTTP_X_SENDFILE_OTHER" => "a")
      expect(described.keys).not_to include("HTTP_X_ACCEL_MAPPING")
    end

    it "joins repeated headers with a comma" do
      expect(env("/", "X-Twice" => %w[one two], "Accept" => ["a/b", "c/d"]))
        .to include("HTTP_X_TWICE" => "one,two", "HTTP_ACCEPT" => "a/b,c/d")
    end

    it "joins repeated cookies with a semicolon" do
      expect(env("/", "Cookie" => ["a=1", "b=2; c=3"])).to include("HTTP_COOKIE" => "a=1; b=2; c=3")
    end

    it "keeps what proxies say without believing it" do
      described = env("/", "X-Forwarded-Proto" => "https", "X-Forwarded-For" => "9.9.9.9", "X-Forwarded-Ssl" => "on",
                           "X-Forwarded-Host" => "evil.example", "X-Forwarded-Port" => "443", "Host" => "real.example")
      expect(described).to include(
        "rack.url_scheme" => "http", "REMOTE_ADDR" => "127.0.0.1", "SERVER_NAME" => "real.example", "SERVER_PORT" => "80",
        "HTTP_X_FORWARDED_PROTO" => "https", "HTTP_X_FORWARDED_FOR" => "9.9.9.9", "HTTP_X_FORWARDED_SSL" => "on",
        "HTTP_X_FORWARDED_HOST" => "evil.example", "HTTP_X_FORWARDED_PORT" => "443"
      )
      expect(described.keys).not_to include("HTTPS")
    end

    it "takes a hundred headers and values of several kilobytes" do
      many = (1..90).to_h { |number| ["X-Number-#{number}", "v#{number}"] }
      described = env("/", **many, "X-Long" => "y" * 6000)
      expect(described).to include("HTTP_X_NUMBER_90" => "v90", "HTTP_X_LONG" => "y" * 6000)
    end
  end
end

RSpec.describe "the Rack environment with several threads" do
  serve "echo", max_pool_size: 1, thread_count: 3

  it "says that the application may be called concurrently" do
    expect(server.get("/env").json).to include("rack.multithread" => true, "rack.multiprocess" => true)
  end
end

RSpec.describe "the Rack environment on other listeners" do
  it "has the client's IPv6 address on an IPv6 listener" do
    begin
      port = Harness::Server.free_port("::1")
    rescue Errno::EADDRNOTAVAIL, Errno::EAFNOSUPPORT
      skip "this machine has no IPv6 loopback address"
    end
    server = start_server(Harness::Apps.directory("echo"), address: "::1", port: port, max_pool_size: 1)
    server.connect do |client|
      expect(client.get("/env", "Host" => "[::1]:#{port}").json).to include(
        "REMOTE_ADDR" => "::1", "REMOTE_PORT" => client.local_port.to_s, "SERVER_NAME" => "[::1]",
        "SERVER_PORT" => port.to_s
      )
    end
    server.stop
  end

  it "is complete on a Unix socket, where there is no address" do
    directory = Harness::Apps.directory("echo")
    server = start_server(directory, socket: File.join(directory, "web.sock"), max_pool_size: 1)
    response = server.get("/env", "Host" => "shop.example")
    expect(response.status).to eq(200), -> { server.tail }
    expect(response.json).to include("SERVER_NAME" => "shop.example", "REMOTE_ADDR" => be_a(String))
    server.stop
  end
end
