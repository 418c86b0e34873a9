# frozen_string_literal: true

require "open3"
require "rbconfig"
require "stringio"
require "tmpdir"
require_relative "../../../lib/phusion_passenger/cli"
require_relative "../../../lib/phusion_passenger/cli/start_arguments"

RSpec.describe PhusionPassenger::CLI do
  def passenger(*arguments)
    out = StringIO.new
    err = StringIO.new
    code = described_class.run(arguments, out: out, err: err)
    [code, out.string, err.string]
  end

  describe "finding the command" do
    it "shows the commands when called with none, with help or with --help" do
      answers = [[], ["help"], ["--help"], ["-h"]].map { |arguments| passenger(*arguments) }
      expect(answers.uniq.size).to eq(1)
      expect(answers.first).to match([0, /^Usage: passenger COMMAND.*^  start /m, ""])
    end

    it "shows the version" do
      [["--version"], ["-v"], ["version"]].each { |arguments| expect(passenger(*arguments)).to eq([0, "Passenger 7.0.0\n", ""]) }
    end

    it "shows the same help for help start and start --help" do
      expect(passenger("help", "start")).to eq(passenger("start", "--help"))
    end

    it "answers an unknown command with one line that suggests the one that was meant" do
      expect(passenger("strat"))
        .to eq([1, "", "passenger: unknown command \"strat\"; did you mean start?; see `passenger help`\n"])
    end
  end

  describe "the help of start" do
    let(:help) { passenger("start", "--help")[1] }

    it "describes every option of the table with its default" do
      text = help.gsub(/\s+/, " ")
      PhusionPassenger::Options.for(:start).each do |option|
        expect(text).to include("--#{'[no-]' if option.boolean?}#{option.long.first}", option.help)
        expect(text).to include("(default: #{option.default_text})") if option.default_text
      end
    end

    it "fits 120 columns" do
      expect(help.lines.map { |line| line.chomp.size }.max).to be <= 120
    end
  end

  describe "reading the arguments of start" do
    def parse(*arguments) = PhusionPassenger::CLI::StartArguments.parse(arguments)

    it "takes every option in its long form" do
      PhusionPassenger::Options.for(:start).reject(&:boolean?).each do |option|
        value = option.list? ? ["1"] : "1"
        option.long.each { |flag| expect(parse("--#{flag}", "1").layer.values).to eq(option.name => value) }
      end
    end

    it "takes the short forms, with and without a space" do
      values = parse("-a", "::1", "-p4000", "-e", "test", "-R", "x.ru").layer.values
      expect(values).to eq(address: "::1", port: "4000", environment: "test", startup_file: "x.ru")
    end

    it "takes switches that turn something off" do
      expect(parse("--no-friendly-error-pages").layer.values).to eq(friendly_error_pages: false)
    end

    it "takes Passenger's name for turning the response cache off, and the last word on it" do
      expect(parse("--disable-turbocaching").layer.values).to eq(turbocaching: false)
      expect(parse("--no-turbocaching").layer.values).to eq(turbocaching: false)
      expect(parse("--disable-turbocaching", "--turbocaching").layer.values).to eq(turbocaching: true)
    end

    it "collects the uses of an option that makes a list" do
      values = parse("--sendfile-dirs", "a:b", "--port", "1", "--sendfile-dirs", "c d", "--asset-patterns=^/x y$").layer.values
      expect(values).to eq(sendfile_dirs: ["a:b", "c d"], port: "1", asset_patterns: ["^/x y$"])
    end

    it "takes one directory, anywhere" do
      expect(parse("-p", "1", "dir", "-e", "test").directory).to eq("dir")
    end
  end

  describe "errors of start" do
    {
      "an unknown option" => [%w[--prot 1], "unknown option --prot; did you mean --port?; see `passenger start --help`"],
      "an unknown switch" => [%w[--no-friendly-eror-pages],
                              "unknown option --no-friendly-eror-pages; did you mean --no-friendly-error-pages?; " \
                              "see `passenger start --help`"],
      "a mistake in Passenger's own switch" => [%w[--disable-turbocachin2],
                                                "unknown option --disable-turbocachin2; did you mean --disable-turbocaching?; " \
                                                "see `passenger start --help`"],
      "a missing value" => [%w[--port], "--port needs a value; see `passenger start --help`"],
      "a wrong value" => [%w[-p x], "--port must be a whole number from 1 to 65535, not \"x\"; see `passenger start --help`"],
      "two directories" => [%w[/a /b], "only one application directory can be given, not 2 (/a, /b); see `passenger start --help`"],
      "a directory that does not exist" => [%w[/no/such/dir], "there is no directory /no/such/dir"]
    }.each do |sentence, (arguments, message)|
      it "answers #{sentence} with one line and exit code 1" do
        expect(passenger("start", *arguments)).to eq([1, "", "passenger start: #{message}\n"])
      end
    end

    it "says which rackup file is missing and how to name another" do
      Dir.mktmpdir do |directory|
        expect(passenger("start", directory)).to match(
          [1, "", %r{\Apassenger start: there is no application in #{directory}: #{directory}/config.ru is missing; .*--rackup FILE}]
        )
      end
    end

    it "says who can't read a rackup file", if: Process.euid.positive? do
      Dir.mktmpdir do |directory|
        File.write("#{directory}/config.ru", "")
        File.chmod(0, "#{directory}/config.ru")
        expect(passenger("start", directory)).to match([1, "", /config.ru can't be read by user #{Process.euid}; /])
      end
    end

    it "says who can't write the pid file", if: Process.euid.positive? do
      Dir.mktmpdir do |directory|
        File.write("#{directory}/config.ru", "")
        expect(passenger("start", directory, "--pid-file", "/proc/x.pid")).to match([1, "", /\Apassenger start: .*x\.pid/])
      end
    end
  end

  describe "the installed command" do
    let(:command) { [RbConfig.ruby, "-W", File.expand_path("../../../exe/passenger", __dir__)] }

    it "exits with 1 after an error, without a stack trace or a warning" do
      out, err, status = Open3.capture3(*command, "start", "--prot", "1")
      expect([out, err, status.exitstatus])
        .to eq(["", "passenger start: unknown option --prot; did you mean --port?; see `passenger start --help`\n", 1])
    end

    it "is not led astray by another phusion_passenger on the load path" do
      Dir.mktmpdir do |directory|
        FileUtils.mkdir_p("#{directory}/phusion_passenger")
        %w[phusion_passenger phusion_passenger/version phusion_passenger/options].each do |name|
          File.write("#{directory}/#{name}.rb", "raise 'another installation was loaded'")
        end
        out, err, status = Open3.capture3({ "RUBYLIB" => directory }, *command, "start", "--help")
        expect([out.lines.first, err, status.exitstatus]).to eq(["Usage: passenger start [DIR] [OPTIONS]\n", "", 0])
      end
    end
  end
end
