# frozen_string_literal: true

require "fileutils"
require "open3"
require "rbconfig"
require "tmpdir"
require_relative "outside_bundle"
require_relative "../../../lib/phusion_passenger/engine"

RSpec.describe PhusionPassenger::Engine do
  engine_error = Class.new(StandardError)

  # Stands in for the C extension: notes what the engine is asked to do, and keeps the pipe that it would write to.
  def native(error_class, failure: nil)
    Module.new do
      const_set(:EngineError, error_class)
      singleton_class.attr_accessor(:calls, :pipe)
      self.calls = []

      define_singleton_method(:engine_start) do |library, json|
        raise error_class, failure if failure

        calls << [:start, library, JSON.parse(json)]
        self.pipe = IO.for_fd(JSON.parse(json).fetch("notify_fd"), "w")
        7
      end
      define_singleton_method(:engine_stop) { |handle, force| calls << [:stop, handle, force] }
      define_singleton_method(:engine_restart) { |handle| calls << [:restart, handle] }
    end
  end

  let(:extension) { native(engine_error) }

  def start_engine(extension, options = { port: 1 })
    stub_const("PhusionPassenger::Native", extension)
    allow(described_class).to receive(:library).and_return("/lib/libpassenger.so")
    described_class.new(options).start
  end

  it "tells the engine the options, who serves and where the parts are" do
    start_engine(extension, { port: 4000, max_pool_size: 2 })
    _, library, options = extension.calls.first
    root = File.expand_path("../../..", __dir__)
    expect(library).to eq("/lib/libpassenger.so")
    expect(options).to include(
      "port" => 4000, "max_pool_size" => 2, "ruby" => RbConfig.ruby, "preloader" => "#{root}/phusion_passenger/preloader.rb",
      "server_software" => "Phusion_Passenger/7.0.0", "version" => "7.0.0"
    )
  end

  it "reads events, also when they arrive in pieces or several at once" do
    engine = start_engine(extension)
    events = ["listening http://x:1/\nrea", "dy\nboot_error 01234567\n"].flat_map do |piece|
      extension.pipe.syswrite(piece)
      engine.read_events.map(&:to_a)
    end
    expect(events).to eq([[:listening, "http://x:1/"], [:ready, nil], [:boot_error, "01234567"]])
    expect(engine.read_events).to eq([])
  end

  it "refuses an event that it does not know" do
    engine = start_engine(extension)
    extension.pipe.syswrite("surprise\n")
    expect { engine.read_events }.to raise_error(described_class::Error, 'the engine sent an unknown event: "surprise"')
  end

  it "notices when the engine ends without a word" do
    engine = start_engine(extension)
    extension.pipe.close
    expect { engine.read_events }.to raise_error(described_class::Error, "the engine ended without being stopped")
  end

  it "stops and restarts the engine that it has started, and no other" do
    engine = start_engine(extension)
    engine.stop
    engine.stop(force: true)
    engine.restart
    described_class.new({}).stop
    expect(extension.calls.drop(1)).to eq([[:stop, 7, false], [:stop, 7, true], [:restart, 7]])
  end

  it "passes on why the engine could not start" do
    failing = native(engine_error, failure: "127.0.0.1:1 is in use")
    expect { start_engine(failing) }.to raise_error(described_class::Error, "127.0.0.1:1 is in use")
  end

  describe "with parts missing" do
    # A copy of the library that lacks what has to be built.
    around do |example|
      Dir.mktmpdir do |directory|
        @copy = directory
        FileUtils.cp_r(File.expand_path("../../../lib", __dir__), directory)
        FileUtils.rm_f(Dir["#{directory}/lib/phusion_passenger/*.so"])
        example.run
      end
    end

    def failure
      code = <<~RUBY
        require "#{@copy}/lib/phusion_passenger/engine"
        begin
          PhusionPassenger::Engine.new({}).start
        rescue PhusionPassenger::Engine::Error => e
          print e.message
        end
      RUBY
      out, err, = Open3.capture3(OUTSIDE_BUNDLE, RbConfig.ruby, "-e", code)
      out + err
    end

    it "says which file is missing and, for an installed gem, how to reinstall it" do
      expect(failure).to eq("#{@copy}/lib/phusion_passenger/native.so is missing: reinstall the gem (`gem pristine passenger`)")
    end

    it "says how to build the file in a checkout" do
      File.write("#{@copy}/Rakefile", "")
      expect(failure).to eq("#{@copy}/lib/phusion_passenger/native.so is missing: run `bundle exec rake compile` in #{@copy}")
    end

    it "says so when the extension does not fit this Ruby" do
      File.write("#{@copy}/lib/phusion_passenger/native.so", "not a library")
      expect(failure).to match(/native\.so can't be loaded \(.+\); it may have been built for another Ruby: reinstall the gem/)
    end
  end
end
