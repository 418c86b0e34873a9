# frozen_string_literal: true

module PhusionPassenger
  # A setting that can't be used. The message is one line for the person who started the server: it names the setting and
  # where it was made.
  class OptionError < StandardError; end

  # One option of the server: everything that the command line, the environment, the engine and the documentation need
  # to know about it. The options themselves are in options.rb.
  class Option
    # name::         key in files and in what the engine gets, e.g. :max_pool_size
    # type::         :string, :integer, :seconds, :megabytes, :bytes, :boolean, :path (relative to where it was written),
    #                :app_path (relative to the application's directory), or a list: :strings, :paths
    # default::      a value, or a block over what has been resolved so far (see Settings)
    # default_text:: the default in words, for people
    # range::        permitted numbers
    # words::        permitted texts of a :string (nil: any); what a number may be said in besides digits
    # long::         names on the command line, without the dashes
    # off::          further names on the command line, of a switch that sets a boolean option to false
    # env::          environment variables, the one that counts most first
    # accepted_by::  :start (the command line of `passenger start`), :rack_handler (`rackup -O`)
    # engine::       whether the engine is told
    attr_reader :name, :type, :default, :short, :long, :off, :metavar, :range, :env, :help, :default_text, :words

    TRUE_WORDS = %w[true yes on 1].freeze
    FALSE_WORDS = %w[false no off 0].freeze

    # What separates the elements of a list in one text: paths may contain blanks.
    SEPARATORS = { strings: /\s+/, paths: ":" }.freeze

    def initialize(name, type:, help:, default: nil, default_text: nil, short: nil, long: nil, off: nil,
                   metavar: nil, range: nil, words: nil, env: nil, accepted_by: %i[start rack_handler], engine: true)
      @name = name
      @type = type
      @help = help
      @default = default
      @default_text = default_text || default&.to_s
      @short = short
      @long = Array(long || name.to_s.tr("_", "-")).freeze
      @off = Array(off).freeze
      @metavar = metavar
      @range = range
      @words = words
      @env = Array(env || "PASSENGER_#{name.to_s.upcase}").freeze
      @accepted_by = accepted_by
      @engine = engine
    end

    def accepted_by?(consumer) = @accepted_by.include?(consumer)

    def engine? = @engine

    def boolean? = type == :boolean

    def list? = SEPARATORS.key?(type)

    # What optparse's `on` wants.
    def switches
      long.each_with_index.map do |flag, index|
        next "--[no-]#{flag}" if boolean?

        index.zero? ? "--#{flag} #{metavar}" : "--#{flag}=#{metavar}"
      end.unshift(short && (boolean? ? short : "#{short} #{metavar}")).compact
    end

    # Turns what somebody wrote into the option's value. A list is an Array, or one text with separators.
    #
    # place::  where it was written, for the message ("--port", "PASSENGER_PORT")
    # base::   directory that relative paths are relative to
    def parse(raw, place:, base:)
      case type
      when :string then word(raw, place)
      when :integer, :seconds, :megabytes, :bytes then number(raw, place)
      when :boolean then truth(raw, place)
      when :path then File.expand_path(text(raw, place), base)
      when :app_path then text(raw, place)
      when :strings then elements(raw, place)
      when :paths then elements(raw, place).map { |path| File.expand_path(path, base) }
      end
    end

    private

    def elements(raw, place)
      parts = raw.is_a?(Array) ? raw : text(raw, place).split(SEPARATORS.fetch(type)).reject(&:empty?)
      parts.map { |part| text(part, place) }
    end

    def text(raw, place)
      value = raw.to_s
      raise OptionError, "#{place} needs a value" if value.empty?
      raise OptionError, "#{place} can't contain a NUL byte" if value.include?("\0")

      value
    end

    def word(raw, place)
      value = text(raw, place)
      return value if words.nil? || words.include?(value)

      raise OptionError, "#{place} must be #{words.join(' or ')}, not #{value.inspect}"
    end

    def number(raw, place)
      return raw.to_s if words&.include?(raw.to_s)

      value = Integer(raw.to_s, 10, exception: false)
      unit = type == :integer ? "whole number" : "whole number of #{type}"
      unit = "#{words.join(' or ')} or a #{unit}" if words
      raise OptionError, "#{place} must be #{"a " unless words}#{unit}#{limits}, not #{raw.to_s.inspect}" unless value
      raise OptionError, "#{place} must be #{"a " unless words}#{unit}#{limits}, not #{value}" if range && !range.cover?(value)

      value
    end

    def limits
      return "" unless range

      range.end ? " from #{range.begin} to #{range.end}" : ", at least #{range.begin}"
    end

    def truth(raw, place)
      return raw if [true, false].include?(raw)

      word = raw.to_s.downcase
      return true if TRUE_WORDS.include?(word)
      return false if FALSE_WORDS.include?(word)

      raise OptionError, "#{place} must be true or false (or yes, no, on, off, 1, 0), not #{raw.to_s.inspect}"
    end
  end
end
