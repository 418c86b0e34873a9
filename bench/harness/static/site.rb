# frozen_string_literal: true

require "digest"
require "fileutils"
require "stringio"
require "zlib"

module Bench
  module Static
    # A site made for the run: one public directory that all servers serve, and in front of it a Rack application that says
    # hello. With RAILS_SERVE_STATIC_FILES set the application serves the directory itself, by the middleware and at the place
    # that Rails gives it with `public_file_server.enabled`; this project's server and nginx do without.
    class Site < App
      KILOBYTE = 1024
      # The name is what counts; it has the form of Sprockets' digests.
      STYLESHEET = "assets/application-#{Digest::SHA256.hexdigest('application.css')}.css"

      # Files keep this age: servers treat files that have only just been written with care (they might be written again within
      # the resolution of a date), which is not what is to be measured.
      AGE = 86_400

      RACKUP = <<~RUBY
        # frozen_string_literal: true

        unless ENV["RAILS_SERVE_STATIC_FILES"].to_s.empty?
          require "action_controller"
          ActionController::Base # What the middleware asks for the extension of cached pages; loaded before the fork.
          use ActionDispatch::Static, File.join(__dir__, "public")
        end
        run ->(_env) { [200, { "content-type" => "text/plain" }, ["Hello world\\n"]] }
      RUBY

      def initialize(name = "static", path: "/robots.txt", length: KILOBYTE)
        super(name, root: nil, startup_file: nil, path: path, length: length)
      end

      def root
        File.join(@dir, "site")
      end

      def startup_file
        File.join(root, "config.ru")
      end

      def public_dir
        File.join(root, "public")
      end

      def peer_env
        { "RAILS_SERVE_STATIC_FILES" => "1" }
      end

      def prepare(dir, _ruby)
        @dir = dir
        made = Time.now - AGE
        FileUtils.mkdir_p(root)
        File.write(startup_file, RACKUP)
        each_file do |path, content|
          file = File.join(public_dir, path)
          FileUtils.mkdir_p(File.dirname(file))
          File.binwrite(file, content)
          File.utime(made, made, file)
        end
      end

      private

      # The same content in every run. Images are noise, as compressed data is.
      def each_file
        noise = Random.new(1)
        stylesheet = self.class.stylesheet(noise)
        yield "robots.txt", self.class.text("User-agent: *\nDisallow: /admin\n", KILOBYTE)
        yield "icon.png", noise.bytes(4 * KILOBYTE)
        yield "photo.jpg", noise.bytes(64 * KILOBYTE)
        yield "download.bin", noise.bytes(10 * KILOBYTE * KILOBYTE)
        yield "about.html", self.class.text("<p>About this site.</p>\n", 4 * KILOBYTE)
        yield STYLESHEET, stylesheet
        yield "#{STYLESHEET}.gz", self.class.gzip(stylesheet)
      end

      class << self
        def text(line, length)
          (line * ((length / line.bytesize) + 1))[0, length]
        end

        # About 100 KB with the variety of a real one: it compresses to a fifth or so.
        def stylesheet(random)
          rules = Array.new(1200) do |number|
            format(".c%<number>d-%<name>04x { color: #%<colour>06x; margin: %<margin>dpx auto; padding: %<padding>.2frem }\n",
                   number: number, name: random.rand(0x10000), colour: random.rand(0x1000000), margin: random.rand(40), padding: random.rand)
          end
          rules.join
        end

        # As assets:precompile leaves it: best compression, no time in the header.
        def gzip(text)
          output = StringIO.new("".b)
          writer = Zlib::GzipWriter.new(output, Zlib::BEST_COMPRESSION)
          writer.mtime = 1
          writer.write(text)
          writer.close
          output.string
        end
      end
    end
  end
end
