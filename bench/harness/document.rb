# frozen_string_literal: true

require "fileutils"

module Bench
  # A page under docs/benchmarks with its plot.
  class Document
    def initialize(name, output)
      @name = name
      @output = output
      @parts = []
    end

    def add(part)
      @parts << part.to_s.strip
      self
    end

    def add_plot(plot, alternative)
      @svg = plot.to_svg
      add("![#{alternative}](#{@name}.svg)")
    end

    # Title and text pairs, as a shell listing.
    def add_listing(commands)
      add("```sh\n#{commands.map { |title, command| "# #{title}\n#{command}" }.join("\n\n")}\n```")
    end

    # Returns the files written.
    def write
      FileUtils.mkdir_p(@output)
      files = { "#{@name}.md" => "#{@parts.join("\n\n")}\n" }
      files["#{@name}.svg"] = @svg if @svg
      files.map do |name, text|
        File.join(@output, name).tap { |file| File.write(file, text) }
      end
    end
  end
end
