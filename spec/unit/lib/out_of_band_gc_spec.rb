# frozen_string_literal: true

require "open3"
require "rbconfig"
require "tmpdir"
require_relative "outside_bundle"

# In processes of their own, as every process of an application may load it.
RSpec.describe "PhusionPassenger::Rack::OutOfBandGc" do
  LIBRARY = File.expand_path("../../../lib/phusion_passenger.rb", __dir__)

  def ruby(code, *switches)
    script = <<~RUBY
      require #{LIBRARY.inspect}
      PhusionPassenger.require_passenger_lib "rack/out_of_band_gc"
      OutOfBandGc = PhusionPassenger::Rack::OutOfBandGc
      APP = ->(env) { [200, { "x" => "1" }, []] }
      def flagged(middleware, requests) = Array.new(requests) { middleware.call({})[1].key?("!~request-oob-work") ? 1 : 0 }.join
      #{code}
    RUBY
    out, err, status = Open3.capture3(OUTSIDE_BUNDLE, RbConfig.ruby, "-W", *switches, "-e", script)
    raise err unless status.success? && err.empty?

    out
  end

  def complaint(arguments)
    ruby("begin; OutOfBandGc.new(APP, #{arguments}); rescue ArgumentError => e; print e.message; end")
  end

  it "asks for a collection after every so many requests" do
    expect(ruby("print flagged(OutOfBandGc.new(APP, 3), 7)")).to eq("0010010")
    expect(ruby("print flagged(OutOfBandGc.new(APP, strategy: :counting, frequency: 2), 4)")).to eq("0101")
    expect(ruby("print flagged(OutOfBandGc.new(APP, { strategy: :counting, frequency: 2 }), 4)")).to eq("0101")
  end

  it "collects when the worker says that it is time, and tells the logger" do
    expect(ruby(<<~RUBY)).to match(/\Atrue out-of-band garbage collection of process \d+ took \d+\.\d{3} s\z/)
      logger = Object.new
      def logger.info(text) = $said = text
      OutOfBandGc.new(APP, 3, logger)
      before = GC.stat(:major_gc_count)
      PhusionPassenger.early_event_blocks[:oob_work].each(&:call)
      print GC.stat(:major_gc_count) > before, " ", $said
    RUBY
  end

  it "leaves frozen headers as they are" do
    expect(ruby("headers = {}.freeze; p OutOfBandGc.new(->(_) { [200, headers, []] }, 1).call({})[1], headers"))
      .to match(/"!~request-oob-work"\s*=>\s*"true".*\n\{\}\n/)
  end

  it "leaves the decision to the gem gctools if told so" do
    Dir.mktmpdir do |directory|
      Dir.mkdir(File.join(directory, "gctools"))
      File.write(File.join(directory, "gctools/oobgc.rb"), <<~RUBY)
        $asked = false
        module GC::OOB
          def self.setup = print("setup ")
          def self.dry_run = ($asked = !$asked)
          def self.run = print(" run")
        end
      RUBY
      code = "print flagged(OutOfBandGc.new(APP, strategy: :gctools_oobgc), 4); PhusionPassenger.early_event_blocks[:oob_work].each(&:call)"
      expect(ruby(code, "-I", directory)).to eq("setup 1010 run")
    end
  end

  it "says what is wrong with its arguments" do
    expect(complaint("0")).to match(/needs a frequency: .*at least 1.*not 0/)
    expect(complaint("nil")).to match(/needs a frequency: .*not nil/)
    expect(complaint("strategy: :often")).to match(/no strategy :often; there are :counting and :gctools_oobgc/)
    expect(complaint("every: 5")).to match(/no option :every; there are :strategy and :frequency and :logger/)
    expect(complaint("5, frequency: 6")).to match(/two frequencies, 5 and 6/)
    expect(complaint("5, strategy: :gctools_oobgc")).to match(/takes no frequency with strategy: :gctools_oobgc/)
    expect(complaint("strategy: :gctools_oobgc")).to match(/without the gem gctools .*Gemfile/)
  end

  it "does not stand in the way of the library rack" do
    expect(ruby("require 'rack'; print ::Rack.release.to_i > 1, PhusionPassenger::Rack == ::Rack")).to eq("truefalse")
  end

  it "is the one library there is" do
    code = "begin; PhusionPassenger.require_passenger_lib('debugging'); rescue LoadError => e; print e.message; end"
    expect(ruby(code)).to eq('PhusionPassenger.require_passenger_lib: there is no "debugging"; there is rack/out_of_band_gc')
  end
end
