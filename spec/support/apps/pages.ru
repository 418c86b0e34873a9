# frozen_string_literal: true

# Keeps its pages as files, as Action Pack's page caching does: GET renders and writes the page, POST removes it. A page is
# written the way that gem writes it, into the final file and piece by piece, with a compressed twin.

require "fileutils"
require "rack"
require "zlib"

class Pages
  DIRECTORY = File.expand_path(ENV.fetch("PAGES", "public"), __dir__)

  def call(env)
    path = env["PATH_INFO"]
    case env["REQUEST_METHOD"]
    when "GET" then render(path)
    when "POST" then expire(path)
    else answer("#{env["REQUEST_METHOD"]} #{path}")
    end
  end

  private

  def render(path)
    @renderings = (@renderings || 0) + 1
    page = "<p>#{path} for the #{@renderings}. time</p>".ljust(3000)
    write(file_of(path), page)
    answer(page)
  end

  def expire(path)
    FileUtils.rm_f([file_of(path), "#{file_of(path)}.gz"])
    answer("expired")
  end

  def file_of(path)
    name = path.delete("/").empty? ? "/index" : Rack::Utils.unescape_path(path.chomp("/"))
    File.join(DIRECTORY, File.extname(name).empty? ? "#{name}.html" : name)
  end

  def write(file, page)
    FileUtils.mkdir_p(File.dirname(file))
    File.open(file, "wb+") do |out|
      out.write(page[0, 1000])
      out.flush
      out.write(page[1000..])
    end
    Zlib::GzipWriter.open("#{file}.gz") { |out| out.write(page) }
  end

  def answer(text)
    [200, { "content-type" => "text/html", "x-app" => "yes" }, [text]]
  end
end

run Pages.new
