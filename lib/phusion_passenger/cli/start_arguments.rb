# frozen_string_literal: true

require "optparse"
require_relative "../logical_path"
require_relative "../settings"

module PhusionPassenger
  module CLI
    # The command line of `passenger start`, made from the option table.
    class StartArguments
      attr_reader :directory, :layer

      def self.parse(arguments) = new.tap { |parsed| parsed.parse(arguments) }

      def initialize
        @help = false
        @layer = Settings::Layer.new({}, {}, LogicalPath.pwd)
        @parser = build_parser
      end

      def help? = @help

      def usage = @parser.help

      def parse(arguments)
        directories = @parser.parse(arguments)
        return if help?

        if directories.size > 1
          raise OptionError, "only one application directory can be given, not #{directories.size} (#{directories.join(', ')})"
        end

        @directory = directories.first
      rescue OptionParser::InvalidOption => e
        raise OptionError, "unknown option #{e.args.first}#{suggestion(e.args.first)}"
      rescue OptionParser::MissingArgument => e
        raise OptionError, "#{e.args.first} needs a value"
      rescue OptionParser::ParseError => e
        raise OptionError, e.message
      end

      private

      def build_parser
        OptionParser.new do |parser|
          parser.banner = "Usage: passenger start [DIR] [OPTIONS]"
          parser.summary_width = 38
          parser.separator("\nServes the application in DIR (default: this directory) until INT or TERM.\n\nOptions:")
          Options.for(:start).each { |option| define(parser, option) }
          parser.on("-h", "--help", "Show this help") { @help = true }
          parser.separator("\nEach option can also be set in the environment: PASSENGER_ and its name, PASSENGER_MAX_POOL_SIZE=2.")
        end
      end

      def define(parser, option)
        help = option.default_text ? "#{option.help} (default: #{option.default_text})" : option.help
        help += "; can be repeated" if option.list?
        parser.on(*option.switches, *wrap(help)) { |value| note(option, option.list? ? collected(option, value) : value) }
        option.off.each { |flag| parser.on("--#{flag}", "The same as --no-#{option.long.first}") { note(option, false) } }
      end

      def note(option, value)
        @layer.values[option.name] = value
        @layer.places[option.name] = "--#{option.long.first}"
      end

      # A list is made of all uses of its option; each is one element, whatever characters it has.
      def collected(option, value) = [*@layer.values[option.name], value]

      # No line may begin with a dash: optparse would take it for a switch.
      def wrap(text)
        text.gsub(/ (?=-)/, "\u00a0").scan(/\S.{0,72}(?=\s|\z)|\S+/).map { |line| line.tr("\u00a0", " ") }
      end

      def suggestion(flag)
        known = Options.for(:start).flat_map(&:long).push("help")
        known += Options.for(:start).select(&:boolean?).map { |option| "no-#{option.long.first}" }
        known += Options.for(:start).flat_map(&:off)
        Options.suggestion(flag.sub(/=.*/, ""), known.map { |name| "--#{name}" })
      end
    end
  end
end
