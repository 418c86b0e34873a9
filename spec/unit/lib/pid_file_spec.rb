# frozen_string_literal: true

require "tmpdir"
require_relative "../../../lib/phusion_passenger/pid_file"

RSpec.describe PhusionPassenger::PidFile do
  around { |example| Dir.mktmpdir { |directory| Dir.chdir(directory) { example.run } } }

  let(:path) { File.expand_path("server.pid") }
  let(:pid_file) { described_class.new(path) }

  # Some process that calls itself by that name.
  def with_process(name)
    pid = Process.spawn(["sleep", name], "60")
    yield pid
  ensure
    Process.kill("KILL", pid)
    Process.wait(pid)
  end

  it "holds this process's id until it is released, and is gone then" do
    pid_file.acquire
    expect(File.read(path)).to eq("#{Process.pid}\n")
    pid_file.release
    expect(File.exist?(path)).to be(false)
  end

  it "refuses when another server holds it, and leaves it alone" do
    pid_file.acquire
    expect { described_class.new(path).acquire }
      .to raise_error(described_class::Taken, "already running as process #{Process.pid} (pid file #{path})")
    expect(File.read(path)).to eq("#{Process.pid}\n")
  end

  it "takes over the file of a process that is gone" do
    gone = Process.spawn("true").tap { |pid| Process.wait(pid) }
    File.write(path, "#{gone}\n")
    pid_file.acquire
    expect(File.read(path)).to eq("#{Process.pid}\n")
  end

  it "takes over the file when its process id belongs to another program by now" do
    with_process("gardener") do |pid|
      File.write(path, "#{pid}\n")
      pid_file.acquire
      expect(File.read(path)).to eq("#{Process.pid}\n")
    end
  end

  it "respects the file of the original Passenger, which does not lock it" do
    with_process("Passenger watchdog") do |pid|
      File.write(path, "#{pid}\n")
      expect { pid_file.acquire }.to raise_error(described_class::Taken, /\Aalready running as process #{pid} /)
    end
  end

  ["", "nonsense\n", "-1\n"].each do |content|
    it "takes over a file with #{content.inspect} in it" do
      File.write(path, content)
      pid_file.acquire
      expect(File.read(path)).to eq("#{Process.pid}\n")
    end
  end

  it "does not remove a file that somebody has put in its place" do
    pid_file.acquire
    File.unlink(path)
    File.write(path, "somebody else's")
    pid_file.release
    expect(File.read(path)).to eq("somebody else's")
  end

  it "lets the file be taken again after its holder was killed" do
    reader, writer = IO.pipe
    holder = fork do
      described_class.new(path).acquire
      writer << "held"
      writer.close
      sleep
    end
    writer.close
    reader.read
    Process.kill("KILL", holder)
    Process.wait(holder)
    pid_file.acquire
    expect(File.read(path)).to eq("#{Process.pid}\n")
  end
end
