# frozen_string_literal: true

require "digest"

module Bench
  module Static
    # What makes two answers the same to a client: status, coding, size and content of the body.
    Answer = Struct.new(:status, :encoding, :length, :digest) do
      def self.of(response)
        body = response.body.to_s
        new(Integer(response.code, 10), response["content-encoding"], body.bytesize, Digest::SHA256.hexdigest(body))
      end

      # In words; empty when both are the same.
      def differences(expected)
        words = []
        words << "status #{status} instead of #{expected.status}" if status != expected.status
        words << "Content-Encoding #{encoding || 'none'} instead of #{expected.encoding || 'none'}" if encoding != expected.encoding
        words << "#{length} bytes instead of #{expected.length}" if length != expected.length
        words << "other content" if words.empty? && digest != expected.digest
        words
      end
    end

    # One kind of request: what is asked for, which file the answer must consist of, and what this project wants to reach.
    class Case
      # Precedence as browsers and RFC 9110 §13.2.2 have it: the date is for servers that name no ETag.
      VALIDATORS = { "etag" => "If-None-Match", "last-modified" => "If-Modified-Since" }.freeze

      attr_reader :name, :title, :path, :metric, :goals

      # `file` lies under public/, `encoding` is its coding, `headers` are sent by every client. `conditional`: the client has the
      # file already and asks whether it is still good. `goals` judge `metric`, requests or bytes per second.
      def initialize(name, title:, path:, goals:, file: path.delete_prefix("/"), encoding: nil, headers: {}, conditional: false,
                     metric: :requests_per_second)
        @name = name
        @title = title
        @path = path
        @file = file
        @encoding = encoding
        @headers = headers
        @conditional = conditional
        @metric = METRICS.fetch(metric)
        @goals = goals.map { |peer, (factor, aim)| Goal.new(metric, peer, :>=, factor, CONNECTIONS, aim) }
      end

      def goal(peer)
        goals.find { |goal| goal.peer == peer }
      end

      def expected(public_dir)
        return Answer.new(304, nil, 0, Digest::SHA256.hexdigest("")) if @conditional

        content = File.binread(File.join(public_dir, @file))
        Answer.new(200, @encoding, content.bytesize, Digest::SHA256.hexdigest(content))
      end

      # The headers of the request. The block makes a request with the headers given to it and returns the response: a
      # conditional request needs the server's own validator. nil when the server sends none.
      def request_headers
        return @headers unless @conditional

        response = yield @headers
        from, to = VALIDATORS.find { |field, _| response[field] }
        from && @headers.merge(to => response[from])
      end
    end

    # As many as in the other contests: enough to keep two processors busy at all times.
    CONNECTIONS = 32

    GZIP = { "Accept-Encoding" => "gzip" }.freeze

    # The factors are [what must be reached, what is aimed at]. Against nginx the engine competes with a server that does
    # nothing else; against Puma, which serves files through Ruby, it has to be another class altogether.
    CASES = [
      Case.new("1kb", title: "text of 1 KB", path: "/robots.txt", goals: { nginx: [1.0, 1.2], puma: [8.0] }),
      Case.new("4kb", title: "image of 4 KB", path: "/icon.png", goals: { nginx: [1.0, 1.2], puma: [8.0] }),
      Case.new("64kb", title: "image of 64 KB", path: "/photo.jpg", goals: { nginx: [0.95], puma: [8.0] }),
      Case.new("10mb", title: "download of 10 MB", path: "/download.bin", metric: :bytes_per_second, goals: { nginx: [0.9], puma: [8.0] }),
      Case.new("css", title: "digested stylesheet with a gzip twin", path: "/#{Site::STYLESHEET}", file: "#{Site::STYLESHEET}.gz",
                      encoding: "gzip", headers: GZIP, goals: { nginx: [1.0], puma: [8.0] }),
      Case.new("page", title: "cached page of 4 KB", path: "/about", file: "about.html", goals: { nginx: [1.0, 1.2], puma: [8.0] }),
      Case.new("304", title: "not modified (304), image of 4 KB", path: "/icon.png", conditional: true, goals: { nginx: [1.0], puma: [8.0] })
    ].freeze
  end
end
