# frozen_string_literal: true

require "optparse"
require "rbconfig"

module Bench
  SUBJECTS = [*CONTESTS.map(&:name), "all", "boot", "idle", "static", "static-memory", "cable"].freeze
  # What --only chooses among, by subject.
  PARTS = { "all" => CONTESTS.map(&:name), "static" => Static::CASES.map(&:name), "cable" => Cable::PARTS.map(&:part_name) }.freeze
  DOCUMENTS = File.join(ROOT, "docs/benchmarks")
  SCRATCH = File.join(ROOT, "bench/out")

  # What was asked for on the command line.
  Setup = Struct.new(:subject, :rounds, :duration, :warmup, :connections, :processes, :threads, :servers, :only, :output, :quick,
                     :ruby, :arguments, keyword_init: true) do
    def self.parse(arguments)
      setup = defaults(arguments)
      parser = parser(setup)
      subjects = parser.parse(arguments)
      raise Error, "name one thing to measure: #{SUBJECTS.join(', ')}" unless subjects.size == 1

      setup.subject = subjects.first
      raise Error, "can't measure #{setup.subject.inspect}: choose from #{SUBJECTS.join(', ')}" unless SUBJECTS.include?(setup.subject)

      setup.settle
    rescue OptionParser::ParseError => e
      raise Error, "#{e.message} (bin/bench --help tells the options)"
    end

    # --quick is looked for first: whatever else is given then still counts, in any order.
    def self.defaults(arguments)
      quick = arguments.include?("--quick")
      new(rounds: quick ? 2 : 7, duration: quick ? 1 : 5, warmup: quick ? 1 : 3, processes: 2, threads: 1,
          servers: EVERY_SERVER.map(&:key), quick: quick, ruby: RbConfig.ruby, arguments: arguments.dup)
    end

    def self.parser(setup) # rubocop:disable Metrics/MethodLength, Metrics/AbcSize -- one line per option
      OptionParser.new do |o|
        o.banner = "Usage: bin/bench #{SUBJECTS.join('|')} [options]"
        positive(o, "--rounds NUMBER", "measure every server this many times (#{setup.rounds})") { |n| setup.rounds = n }
        positive(o, "--duration SECONDS", "load it for this long each time (#{setup.duration})") { |n| setup.duration = n }
        positive(o, "--warmup SECONDS", "load it for this long before the first round (#{setup.warmup})") { |n| setup.warmup = n }
        o.on("--connections LIST", Array, "keep-alive connections, one number or several (per case: 32, the page also 16)") do |list|
          setup.connections = list.map { |word| natural(word, "--connections") }
        end
        positive(o, "--processes NUMBER", "application processes per server (#{setup.processes})") { |n| setup.processes = n }
        positive(o, "--threads NUMBER", "threads per application process (#{setup.threads})") { |n| setup.threads = n }
        o.on("--servers LIST", Array, "only these of #{EVERY_SERVER.map(&:key).join(',')}") do |list|
          setup.servers = known(list, EVERY_SERVER.map { |server| server.key.to_s }, "--servers").map(&:to_sym)
        end
        parts = PARTS.map { |subject, names| "with #{subject}: only these of #{names.join(',')}" }
        o.on("--only LIST", Array, *parts) { |list| setup.only = list }
        o.on("--output DIR", "write the tables and plots here (docs/benchmarks; bench/out for a part of static or cable)") do |dir|
          setup.output = File.expand_path(dir)
        end
        o.on("--quick", "check the harness: 2 rounds of 1 s, written to bench/out; the numbers mean little") {}
      end
    end

    def self.positive(options, switch, description)
      options.on(switch, description) { |word| yield natural(word, switch[/\A\S+/]) }
    end

    def self.natural(word, switch)
      number = Integer(word, 10, exception: false)
      return number if number&.positive?

      raise Error, "#{switch} wants a whole number above 0, not #{word.inspect}"
    end

    def self.known(list, names, switch)
      unknown = list - names
      return list if unknown.empty? && list.any?

      raise Error, "#{switch} does not know #{unknown.join(', ')}; there are #{names.join(', ')}"
    end

    private_class_method :defaults, :parser, :positive, :natural

    # What can be judged only when the whole line has been read.
    def settle
      if only
        parts = PARTS[subject] or raise Error, "--only chooses among the parts of #{PARTS.keys.join(', ')}, not of #{subject}"
        self.class.known(only, parts, "--only")
      end
      self.output ||= (quick || partial?) ? SCRATCH : DOCUMENTS
      self
    end

    # The pages of these contests hold all parts and all servers: a run of some is for trying things out.
    def partial?
      taking_part = { "static" => STATIC_SERVERS, "cable" => CABLE_SERVERS }[subject] or return false
      !(only.nil? && (taking_part.map(&:key) - servers).empty?)
    end

    def command
      ["bin/bench", *arguments].join(" ")
    end
  end
end
