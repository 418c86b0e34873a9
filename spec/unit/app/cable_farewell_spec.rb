# frozen_string_literal: true

require File.join(Harness::ROOT, "phusion_passenger/log")
require File.join(Harness::ROOT, "phusion_passenger/cable_farewell")

# With a stand-in for Action Cable; the real one is in spec/rails/cable_restart_spec.rb.
RSpec.describe PhusionPassenger::CableFarewell do
  # A client that answers the close frame, unless told otherwise.
  class CableConnection
    attr_reader :closed

    def initialize(server, answers: true, fails: false)
      @server = server
      @answers = answers
      @fails = fails
      server.connections << self
    end

    def close(**how)
      raise IOError, "not this one" if @fails

      @closed = how
      @server.told << [self, Process.clock_gettime(Process::CLOCK_MONOTONIC)]
      @server.connections.delete(self) if @answers
    end
  end

  let(:server) { Struct.new(:connections, :told).new([], []) }
  let(:said) { [] }
  let(:farewell) { described_class.new(open_connections: -> { @hijacked || server.connections.size }) }

  before do
    allow(PhusionPassenger::Log).to receive(:write) { |text| said << text }
    stub_const("ActionCable", Module.new.tap { |cable| cable.instance_variable_set(:@server, server) })
  end

  def connect(number = 1, **options) = Array.new(number) { CableConnection.new(server, **options) }

  def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  def seconds
    began = now
    yield
    now - began
  end

  it "says Action Cable's word for a restart to each" do
    connections = connect(3)
    farewell.say(0)
    expect(connections.map(&:closed)).to all(eq(reason: "server_restart", reconnect: true))
    expect(said).to eq(["3 Action Cable clients are told to connect again"])
  end

  it "spreads them over the time" do
    connect(100)
    began = now
    farewell.say(0.2)
    # However the process is scheduled, none comes before its time.
    early = server.told.each_with_index.select { |(_, at), index| at - began < index * 0.002 }
    expect([server.told.size, early]).to eq([100, []])
  end

  it "has the few gone long before" do
    connect(3)
    expect(farewell).to receive(:sleep).with(be <= 0.02).at_least(:twice).and_call_original
    farewell.say(3)
    expect(server.connections).to eq([])
  end

  it "tells those who come meanwhile" do
    connect.first.define_singleton_method(:close) { |**how| super(**how).tap { CableConnection.new(@server) } }
    farewell.say(0)
    expect(server.told.size).to eq(2)
  end

  it "waits for a client that does not answer, but not for ever, and tells it once" do
    stub_const("#{described_class}::CLOSING", 0.2)
    connect(1, answers: false)
    expect(seconds { farewell.say(0) }).to be >= 0.2
    farewell.finish
    expect(server.told.size).to eq(1)
  end

  it "goes on with the others when one of them fails" do
    stub_const("#{described_class}::CLOSING", 0.05)
    connect(1, fails: true)
    connect(1)
    farewell.say(0)
    expect(server.told.size).to eq(1)
    expect(said).to include(a_string_including("a connection of Action Cable could not be closed", "not this one"))
  end

  it "finally tells those that a request has opened at last, even if Action Cable does not know them yet" do
    connect
    farewell.say(0)
    @hijacked = 1
    late = Thread.new do
      sleep 0.1
      connect
    end
    farewell.finish
    late.join
    expect(server.told.size).to eq(2)
  end

  it "has nothing to do where Action Cable does not serve, or is not there" do
    ActionCable.instance_variable_set(:@server, nil)
    @hijacked = 5
    expect(farewell).not_to receive(:sleep)
    farewell.say(3)
    farewell.finish
    hide_const("ActionCable")
    described_class.new.say(3)
    expect(said).to eq([])
  end
end
