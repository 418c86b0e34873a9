# frozen_string_literal: true

require "open3"
require "rbconfig"

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

  it "does not define what exists only in workers" do
    expect(ruby("print PhusionPassenger.respond_to?(:advertised_concurrency_level=)")[0]).to eq("false")
  end
end
