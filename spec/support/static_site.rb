# frozen_string_literal: true

require "digest"
require "fileutils"
require "time"
require "zlib"

module Harness
  # Files for the specs of static serving, and what of a response two servers are compared by.
  module StaticSite
    # Long ago and in no daylight saving time: a file of this time is not "young" for any server.
    OLD = Time.utc(2020, 2, 3, 4, 5, 6)
    # In the order in which RFC 9110 §5.6.7 names them.
    DATE_FORMATS = { "IMF-fixdate" => "%a, %d %b %Y %H:%M:%S GMT", "RFC 850" => "%A, %d-%b-%y %H:%M:%S GMT",
                     "asctime" => "%a %b %e %H:%M:%S %Y" }.freeze
    COMPARED = %w[content-length content-range content-type content-encoding last-modified accept-ranges expires vary
                  cache-control].freeze
    PART_HEADERS = %w[content-type content-range].freeze

    module_function

    # An application directory with these files below public.
    def directory(files, app: "canary", mtime: OLD)
      Apps.directory(app).tap { |path| write(File.join(path, "public"), files, mtime: mtime) }
    end

    # The files may be given as a Hash or as the last arguments.
    def write(directory, files = {}, mtime: OLD, **more)
      files.merge(more).each do |name, content|
        path = Apps.write(directory, name, content)
        File.utime(mtime, mtime, path)
      end
    end

    # A file has no Last-Modified as long as another change could give it the same one: for a second. Waits until this file,
    # and with it all that have been made before, are older.
    def settle(path)
      Harness.eventually("the age of #{path}") { Time.now - File.ctime(path) > 1.1 }
    end

    def gzip(text)
      Zlib.gzip(text)
    end

    # `size` bytes that compress badly, differ everywhere, and are the same in each run.
    def noise(size, seed = 1)
      Random.new(seed).bytes(size)
    end

    def by_app?(response)
      response["x-app"] == "yes"
    end

    # What matters of a response, so that two of them can be compared. Not the length and type of a page that
    # only explains an error, and not the boundary of a multipart response.
    def facts(response)
      return { status: response.status, by: "the application" } if by_app?(response)

      facts = { status: response.status }
      names = case response.status
              when 206 then COMPARED - %w[accept-ranges] # the answer itself says that there are ranges
              when 304 then %w[last-modified expires cache-control]
              when 400.. then %w[content-range]
              else COMPARED
              end
      names.each { |name| facts[name] = response[name] if response[name] }
      facts["cache-control"] = directives(response) if facts["cache-control"]
      return facts if response.status >= 300

      parts(response) ? facts.except("content-length", "content-type").merge(parts: parts(response)) : facts.merge(body: Digest::SHA256.hexdigest(response.body))
    end

    # Every Cache-Control directive, however many lines there are.
    def directives(response)
      response.all("cache-control").flat_map { |line| line.split(/\s*,\s*/) }.sort
    end

    # The parts of a multipart/byteranges response as [header, bytes], read strictly (RFC 2046 §5.1.1); nil if it is none.
    def parts(response)
      boundary = %r{\Amultipart/byteranges; ?boundary="?([^";]+)"?\z}.match(response["content-type"].to_s) or return
      return [] if response.body.empty?

      # The line end before the first boundary may be missing.
      head, *parts, tail = "\r\n#{response.body.delete_prefix("\r\n")}".b.split("\r\n--#{boundary[1]}", -1)
      raise HTTPClient::ProtocolError, "bytes around the parts: #{head.inspect}, #{tail.inspect}" unless head.empty? && ["--\r\n", "--"].include?(tail)

      parts.map { |part| parse_part(part) }
    end

    def parse_part(part)
      header, bytes = part.split("\r\n\r\n", 2)
      raise HTTPClient::ProtocolError, "a part without a header: #{part[0, 200].inspect}" unless bytes && header.start_with?("\r\n")

      lines = header.delete_prefix("\r\n").split("\r\n").to_h { |line| line.split(/:\s*/, 2) }.transform_keys(&:downcase)
      [PART_HEADERS.to_h { |name| [name, lines[name]] }, bytes]
    end
  end

  # One request of a table to any server, on a connection of its own. A value that is a Proc is called with the server's own
  # entity tag of that file.
  module StaticRequests
    def ask(server, method, target, headers = {})
      headers = headers.transform_values { |value| value.respond_to?(:call) ? value.call(tag_of(server, target)) : value }
      server.connect do |client|
        client.request(method, target, **headers)
        client.read_response(to: method)
      end
    end

    def tag_of(server, target)
      server.get(target)["etag"] or raise "#{server.name} gives no entity tag for #{target}"
    end

    def facts_of(server, ...)
      StaticSite.facts(ask(server, ...))
    end

    def by_app(server = self.server)
      satisfy("an answer of the application") { |response| StaticSite.by_app?(response) && response.status == 200 }
    end
  end
end

module Harness
  # For example groups: serves a directory of files, once they are old enough to have all their validators.
  module ServingFiles
    def serve_files(files, **options)
      serve(StaticSite.directory(files), max_pool_size: 1, **options)
      before(:context) { StaticSite.settle(File.join(server.directory, "public", files.keys.last)) }
    end
  end
end

RSpec.configure do |config|
  config.include Harness::StaticRequests
  config.extend Harness::ServingFiles
end
