# frozen_string_literal: true

require "zlib"

RSpec.describe "the compression of a Rails application's responses" do
  PIECES = <<~'RUBY'
    class PiecesController < ActionController::Base
      include ActionController::Live

      # Writes a piece and waits for the spec to have read it.
      def show
        response.headers["Content-Type"] = params[:type]
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Last-Modified"] = Time.now.httpdate # no ETag, which would need the whole
        3.times do |number|
          response.stream.write("piece #{number}\n")
          sleep 0.01 until Rails.root.join("tmp/read-#{params[:id]}-#{number}").exist?
        end
      ensure
        response.stream.close
      end
    end
  RUBY

  TEXTS = <<~'RUBY'
    class TextsController < ActionController::Base
      def strong
        fresh_when strong_etag: "version 1"
        render plain: "text that repeats " * 200 unless performed?
      end

      def untouched
        response.headers["Cache-Control"] = "no-transform"
        render plain: "text that repeats " * 200
      end
    end
  RUBY

  app = [{ "app/controllers/pieces_controller.rb" => PIECES, "app/controllers/texts_controller.rb" => TEXTS }]
  routes = "get \"pieces/:id\", to: \"pieces#show\"\nget \"texts/:action\", controller: \"texts\""

  # As JSON and as a page.
  LONG = "Who has seen the grey cat with the white ear? She answers to Soup. " * 40

  def long_post
    @long_post ||= server.post("/api/posts", JSON.generate(title: "Long", body: LONG, author: "spec", category: "news"),
                               "Content-Type" => "application/json")["location"][%r{/api/posts/\d+\z}]
  end

  def decoded(response)
    response["content-encoding"] == "gzip" ? Zlib.gunzip(response.body) : response.body
  end

  describe "by the server" do
    serve_bulletin(*app, routes: routes)

    it "goes by what the client accepts" do
      page = "/posts/9"
      plain = server.get(page)
      expect(plain["content-encoding"]).to be_nil
      expect(plain["vary"]).to match(/\baccept-encoding\b/i)
      gzip = server.get(page, "Accept-Encoding" => "gzip, deflate")
      expect(gzip["content-encoding"]).to eq("gzip")
      expect(gzip["vary"]).to match(/\baccept-encoding\b/i)
      expect(gzip["content-length"]).to eq(gzip.body.bytesize.to_s).or(be_nil)
      expect(decoded(gzip)).to include("The plan for this year", "</html>")
      expect(gzip.body.bytesize).to be < plain.body.bytesize
      brotli = server.get(page, "Accept-Encoding" => "gzip, deflate, br")
      expect(brotli["content-encoding"]).to eq("br")
      expect(brotli.body.bytesize).to be < plain.body.bytesize
      curl = run_command(["curl", "--silent", "--show-error", "--compressed", "--header", "Accept-Encoding: br", "http://127.0.0.1:#{server.port}#{page}"],
                         directory: server.directory)
      expect(curl.out).to include("The plan for this year", "</html>")
      expect(server.get(page, "Accept-Encoding" => "gzip;q=0, identity")["content-encoding"]).to be_nil
    end

    it "leaves Rails' validators valid" do
      plain = server.get(long_post)
      expect(plain["etag"]).to start_with('W/"')
      %w[gzip br].each do |encoding|
        compressed = server.get(long_post, "Accept-Encoding" => encoding)
        expect(compressed["content-encoding"]).to eq(encoding)
        expect(compressed["etag"]).to start_with('W/"')
        unchanged = nil
        expect { unchanged = server.get(long_post, "Accept-Encoding" => encoding, "If-None-Match" => compressed["etag"]) }
          .to change { server.asked_for(long_post) }.by(1)
        expect(unchanged).to have_attributes(status: 304, body: "")
        expect(unchanged).to come_from_rails
      end
    end

    it "makes strong entity tags weak" do
      strong = server.get("/texts/strong")["etag"]
      expect(strong).to start_with('"')
      compressed = server.get("/texts/strong", "Accept-Encoding" => "gzip")
      expect(compressed["content-encoding"]).to eq("gzip")
      expect(compressed["etag"]).to eq("W/#{strong}")
    end

    it "spares what is short, and what the application wants to have untouched" do
      %w[/probe/pid /texts/untouched].each { |path| expect(server.get(path, "Accept-Encoding" => "gzip, br")["content-encoding"]).to be_nil }
    end

    it "spares pictures" do
      picture = server.get("/posts/9").body[%r{/attachments/\d+(?=\?)}]
      expect(server.get(picture, "Accept-Encoding" => "gzip, br")["content-encoding"]).to be_nil
    end

    # Reads the pieces as they come; each is sent only when the one before has been read.
    def read_pieces(type, encoding)
      id = "#{type[/\w+\z/]}-#{encoding.to_s[/\A\w*/]}"
      inflater = Zlib::Inflate.new(Zlib::MAX_WBITS + 32) if encoding == "gzip"
      text = +""
      seen = 0
      response = server.connect do |client|
        client.request("GET", "/pieces/#{id}?type=#{CGI.escape(type)}", **(encoding ? { "Accept-Encoding" => encoding } : {}))
        client.read_response do |bytes|
          text << (inflater ? inflater.inflate(bytes) : bytes)
          while text.include?("piece #{seen}\n")
            Harness::Apps.write(server.directory, "tmp/read-#{id}-#{seen}", "")
            seen += 1
          end
        end
      end
      [response, text]
    end

    it "sends the pieces of ActionController::Live one by one" do
      response, text = read_pieces("text/csv", "gzip")
      expect(response["content-encoding"]).to eq("gzip")
      expect(response["vary"]).to match(/\baccept-encoding\b/i)
      expect(text).to eq("piece 0\npiece 1\npiece 2\n")
      expect(read_pieces("text/csv", nil).last).to eq(text)
    end

    it "spares server-sent events" do
      response, text = read_pieces("text/event-stream", "gzip, br")
      expect(response["content-encoding"]).to be_nil
      expect(text).to eq("piece 0\npiece 1\npiece 2\n")
      events = server.get("/live/stream?seconds=1", "Accept-Encoding" => "gzip, br")
      expect(events["content-encoding"]).to be_nil
      expect(events.body).to include("event: tick")
    end
  end

  describe "beside Rack::Deflater" do
    serve_bulletin(*app, routes: routes, settings: "config.middleware.use Rack::Deflater")

    it "is done once" do
      ["/posts/9", long_post].each do |path|
        gzip = server.get(path, "Accept-Encoding" => "gzip")
        expect(gzip.all("content-encoding")).to eq(["gzip"])
        expect(decoded(gzip)).to include(path == long_post ? LONG.strip : "</html>")
        expect(gzip.all("vary").join(", ").scan(/accept-encoding/i).size).to eq(1)
      end
    end

    it "is not done twice to assets" do
      asset = server.get("/").body[%r{/assets/application-\h+\.css}]
      expect(Zlib.gunzip(server.get(asset, "Accept-Encoding" => "gzip").body) == File.binread(File.join(server.directory, "public", asset))).to be(true)
    end
  end

  describe "switched off" do
    serve_bulletin(*app, routes: routes, compression: false)

    it "leaves everything as Rails has made it" do
      asset = server.get("/").body[%r{/assets/application-\h+\.css}]
      ["/posts/9", long_post, asset].each do |path|
        expect(server.get(path, "Accept-Encoding" => "gzip, br")).to have_attributes(status: 200).and satisfy { |response| response["content-encoding"].nil? }
      end
    end
  end
end
