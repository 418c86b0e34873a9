# frozen_string_literal: true

module PhusionPassenger
  # Why an application did not start, in the form in which the engine shows it: docs/protocol.md, boot_error.
  class BootError
    # Bytes. A control message holds 64 KiB.
    LIMITS = { "message" => 8 * 1024, "backtrace" => 24 * 1024, "excerpt" => 8 * 1024 }.freeze
    # Lines shown before and after the one in question
    CONTEXT = 6

    # 8 hexadecimal digits that appear in the log and on the error page
    attr_reader :id

    def initialize(error, app_root)
      @error = error
      @app_root = app_root
      @id = Random.urandom(4).unpack1("H*")
    end

    # Hash with String keys and values
    def fields
      @fields ||= begin
        file, line = place
        {
          "id" => @id,
          "class" => @error.class.to_s,
          "message" => limited("message", Redaction.clean(message)),
          "backtrace" => limited("backtrace", backtrace.join("\n")),
          "file" => file.to_s,
          "line" => line.to_s,
          "excerpt" => limited("excerpt", Redaction.clean(excerpt(file, line)))
        }
      end
    end

    # For the log
    def to_s
      place = fields["file"].empty? ? "" : " at #{fields["file"]}:#{fields["line"]}"
      ["the application in #{@app_root} could not be started#{place} (error id #{@id})",
       "  #{fields["class"]}: #{fields["message"].gsub("\n", "\n  ")}",
       *backtrace.map { |entry| "    #{entry}" }].join("\n")
    end

    private

    def message
      case @error
      when SystemExit
        # abort("text") has printed its text already; exit has none.
        text = Exceptions.message(@error)
        said = text == "exit" ? "" : ": #{text}"
        "The application called exit (status #{@error.status}) while it was being loaded#{said.empty? ? "." : said}"
      when SignalException
        "The application was interrupted by #{@error.signm} while it was being loaded."
      else
        causes.inject(Exceptions.message(@error)) do |text, cause|
          "#{text}\n\nCaused by #{cause.class}: #{Exceptions.message(cause)}"
        end
      end
    end

    def causes
      found = []
      cause = @error.cause
      while cause && !found.include?(cause) && found.size < 5
        found << cause
        cause = cause.cause
      end
      found
    end

    def backtrace = Exceptions.backtrace(@error)

    # [file, line] of what is most likely the mistake
    def place
      syntax_error_place || frame_place || []
    end

    # A syntax error is in the file that its message names, not in the one that loaded it.
    def syntax_error_place
      return unless @error.is_a?(SyntaxError)

      Exceptions.message(@error).lines.each do |line|
        return [Regexp.last_match(1), Regexp.last_match(2).to_i] if line =~ /\A(?:--> )?(\S.*?):(\d+):/ && File.file?(Regexp.last_match(1))
      end
      nil
    end

    # The application's own code comes before that of gems, and both before this one's.
    def frame_place
      frames = backtrace.filter_map { |entry| [Regexp.last_match(1), Regexp.last_match(2).to_i] if entry =~ /\A(.+?):(\d+)(?::in |\z)/ }
      frames = frames.reject { |file, _| file.start_with?("<internal:", "#{__dir__}/") }
      frames.find { |file, _| own?(file) } || frames.first
    end

    def own?(file)
      path = File.expand_path(file, @app_root)
      roots.any? { |root| path.start_with?("#{root}/") } && !path.match?(%r{/(?:vendor|gems|node_modules)/})
    end

    def roots
      @roots ||= [@app_root, (File.realpath(@app_root) if File.directory?(@app_root))].compact.uniq
    end

    def excerpt(file, line)
      return "" unless file && File.file?(path = File.expand_path(file, @app_root)) && File.readable?(path)

      first = [line - CONTEXT, 1].max
      lines = File.foreach(path, mode: "rb").first(line + CONTEXT).drop(first - 1)
      lines.each_with_index.map { |text, index| "#{first + index}: #{Exceptions.utf8(text).chomp}" }.join("\n")
    end

    def limited(name, text)
      return text if text.bytesize <= LIMITS.fetch(name)

      "#{text.byteslice(0, LIMITS.fetch(name) - 4).scrub("")} …"
    end
  end
end
