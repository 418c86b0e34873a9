# frozen_string_literal: true

require "open3"
require "rbconfig"
require "tmpdir"

# In processes of their own: the module is global, and the specs of application processes define its other side.
RSpec.describe "PhusionPassenger in a rake task or a console" do
  def ruby(code)
    library = File.expand_path("../../../lib/phusion_passenger.rb", __dir__)
    out, err, status = Open3.capture3(RbConfig.ruby, "-W", "-e", "require #{library.inspect}; #{code}")
    raise err unless status.success?

    [out, err]
  end

  it "takes subscriptions to every event, and never calls the block" do
    events = %i[starting_worker_process stopping_worker_process starting_request_handler_thread credentials
                after_installing_signal_handlers oob_work unhandled_exception_before_exit]
    expect(ruby("#{events.inspect}.each { |event| p PhusionPassenger.on_event(event) { abort } }")).to eq(["nil\n" * 7, ""])
  end

  it "keeps subscriptions for the workers that may be forked from this process, in order" do
    code = <<~RUBY
      PhusionPassenger.on_event(:credentials) { 1 }
      PhusionPassenger.on_event("credentials") { 2 }
      p PhusionPassenger.early_event_blocks[:credentials].map(&:call)
    RUBY
    expect(ruby(code)).to eq(["[1, 2]\n", ""])
  end

  it "refuses an event that does not exist, naming those that do" do
    code = "begin; PhusionPassenger.on_event(:started) {}; rescue ArgumentError => e; print e.message; end"
    expect(ruby(code)[0]).to match(/\APhusionPassenger.on_event: unknown event :started; the events are :starting_worker_process, /)
  end

  it "refuses a subscription without a block" do
    expect(ruby("begin; PhusionPassenger.on_event(:oob_work); rescue ArgumentError => e; print e.message; end")[0])
      .to eq("PhusionPassenger.on_event(:oob_work) needs a block")
  end

  it "has the names that applications ask for" do
    expect(ruby("print PhusionPassenger::VERSION_STRING, PhusionPassenger.install_framework_extensions!(:x).inspect")[0])
      .to eq("7.0.0nil")
  end

  it "knows the same events as application processes" do
    application_side = File.expand_path("../../../phusion_passenger/public_api.rb", __dir__)
    expect(ruby(<<~RUBY)[0]).to eq("true")
      here = PhusionPassenger.early_event_blocks.keys
      require #{application_side.inspect}
      print here == PhusionPassenger::ProcessApi::EVENTS
    RUBY
  end

  # `bundle exec passenger` finds the original's command where its package is installed and ours is not in PATH.
  describe "loaded by a command of the original Passenger" do
    def foreign(name, *arguments)
      Dir.mktmpdir do |directory|
        File.write("#{directory}/#{name}", "require 'phusion_passenger'; PhusionPassenger.locate_directories; print 'the original'")
        lib = File.expand_path("../../../lib", __dir__)
        out, err, status = Open3.capture3(RbConfig.ruby, "-I", lib, "#{directory}/#{name}", *arguments)
        [out, err.sub(directory, "DIR"), status.exitstatus]
      end
    end

    it "becomes this gem's command of the same name" do
      expect(foreign("passenger", "--version")).to eq(["Passenger 7.0.0\n", "", 0])
    end

    it "says so when this gem has no such command" do
      expect(foreign("passenger-install-nginx-module")).to eq(
        ["", "passenger-install-nginx-module: DIR/passenger-install-nginx-module belongs to another Passenger installation than " \
             "the gem in the bundle (passenger 7.0.0), which has no command passenger-install-nginx-module; " \
             "run it outside the bundle\n", 1]
      )
    end
  end

  it "lets any process say how many requests it could handle, which only servers ask for" do
    expect(ruby("PhusionPassenger.advertised_concurrency_level = 3; print PhusionPassenger.advertised_concurrency_level")[0]).to eq("3")
  end
end
