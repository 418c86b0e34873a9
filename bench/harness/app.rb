# frozen_string_literal: true

module Bench
  # An application to be served: where it lies, what is asked of it, and what a right answer looks like.
  class App
    APPS = File.join(ROOT, "bench/apps")

    attr_reader :name, :root, :startup_file, :path

    # `length` is the exact size of the body, `text` something that it must contain.
    def initialize(name, root:, startup_file:, path: "/", length: nil, text: nil)
      @name = name
      @root = root
      @startup_file = startup_file
      @path = path
      @length = length
      @text = text
    end

    HELLO = new("hello", root: APPS, startup_file: File.join(APPS, "hello.ru"), length: 12, text: "Hello world\n")
    BODY_120K = new("body120k", root: APPS, startup_file: File.join(APPS, "body120k.ru"), length: 120 * 1024)
    BODY_3M = new("body3m", root: APPS, startup_file: File.join(APPS, "body3m.ru"), length: 3 * 1024 * 1024)

    # Additional environment for this project's server, and for its peers.
    def env
      {}
    end

    def peer_env
      env
    end

    # Additional options for this project's server.
    def passenger_options
      []
    end

    # Whatever has to be there before the first start; `dir` lives as long as the run.
    def prepare(dir, ruby); end

    # nil, or what is wrong with the response.
    def complaint(response)
      return "answered #{response.code}" unless response.code == "200"

      body = response.body.to_s
      if @length && body.bytesize != @length
        "sent a body of #{body.bytesize} bytes instead of #{@length}"
      elsif @text && !body.include?(@text)
        "sent a body without #{@text.inspect}"
      end
    end
  end
end
