# frozen_string_literal: true

require "rbconfig"
require_relative "../lib/outside_bundle"
require_relative "driver"

# Plays the engine against a real preloader and real workers.
class StandInEngine
  Native = PhusionPassenger::Native
  Control = PhusionPassenger::Control
  ROOT = File.expand_path("../../..", __dir__)
  PATIENCE = 20

  attr_reader :pid, :dir, :control

  # files:: name => content, of the application
  def initialize(dir, files, threads: 1, environment: "production", variables: {}, capacity: 8)
    @dir = dir
    files.each { |name, content| write(name, content) }
    @threads = threads
    @environment = environment
    @variables = variables
    @capacity = capacity
    @workers = {}
    @sequence = 0
    queue, @queue_end = Native.socketpair(:seqpacket)
    @queue = UNIXSocket.for_fd(queue)
    @board = File.open(Dir.tmpdir, File::RDWR | File::TMPFILE, 0o600)
    @board.truncate(64 * capacity)
  end

  def write(name, content)
    path = File.join(@dir, name)
    Dir.mkdir(File.dirname(path)) unless File.directory?(File.dirname(path))
    File.write(path, content)
  end

  # Starts a preloader as the engine does, or takes the one that the block makes of the other end.
  def start(input: File::NULL)
    engine, other = Native.socketpair(:seqpacket)
    @control = Control.new(engine)
    peer = IO.for_fd(other)
    @pid = block_given? ? yield(peer) : spawn_preloader(peer, input)
    peer.close
    @control.post("hello", hello, [@queue_end, @board.fileno])
    self
  end

  # The next message of the preloader: [verb, fields], nil at the end.
  def heard(control = @control)
    message = Timeout.timeout(PATIENCE) { control.receive }
    message && [message.verb, message.fields]
  end

  # Has a worker forked and waits until it is ready; returns its number.
  def worker(number = @workers.size + 1, wait: true)
    engine, theirs = Native.socketpair(:seqpacket)
    streams = Array.new(@threads) { Native.socketpair(:stream) }
    first = @workers.size * @threads
    worker = { control: Control.new(engine), streams: streams.map { |ours, _| UNIXSocket.for_fd(ours) } }
    fds = [theirs, *streams.map(&:last)]
    @control.post("spawn", { "worker" => number, "slots" => Array.new(@threads) { |i| first + i }.join(",") }, fds)
    fds.each { |fd| Native.close_fd(fd) }
    @workers[number] = worker
    return number unless wait

    verb, fields = heard
    raise "worker was not spawned: #{verb} #{fields}" unless verb == "spawned"

    worker[:pid] = Integer(fields["pid"])
    verb, fields = heard(worker[:control])
    raise "worker is not ready: #{verb} #{fields}" unless verb == "ready"

    number
  end

  def worker_pid(number = 1) = @workers[number][:pid]
  def worker_control(number = 1) = @workers[number][:control]

  def request(path, environment = {})
    @sequence += 1
    fields = SlotDriver::REQUEST.merge("PATH_INFO" => path, **environment).map do |name, value|
      key = SlotDriver::KEYS.index(name)
      (key ? [key + 1].pack("C") : [0, name.bytesize].pack("Cv") + name) + [value.bytesize].pack("V") + value.b
    end.join
    @queue.sendmsg([1, 1, 0, 0, fields.bytesize, @sequence << 24, 0, 0].pack("CCCCVQ<Q<Q<") + fields)
  end

  # The next frame of any worker as [type, payload], or nil when a worker has closed its stream.
  def frame
    streams = @workers.values.flat_map { |worker| worker[:streams] }
    ready, = IO.select(streams, nil, nil, PATIENCE)
    raise "no response" unless ready

    header = ready.first.read(16) or return
    _, type, _, length, = header.unpack("CCvVQ<")
    [SlotDriver::TYPES.fetch(type), length.zero? ? "" : ready.first.read(length)]
  end

  # The engine's end of a connection that the application takes over: the response to the request.
  def hijacked(path)
    request(path)
    stream = @workers.values.flat_map { |worker| worker[:streams] }.first
    header, _, _, control = Timeout.timeout(PATIENCE) { stream.recvmsg(16, scm_rights: true) }
    _, type, _, length, = header.unpack("CCvVQ<")
    stream.read(length)
    raise "#{path}: a frame of type #{type} instead of a hijack" unless SlotDriver::TYPES.fetch(type) == :hijack

    socket = control.unix_rights.first
    type, = frame
    raise "#{path}: #{type} instead of the end" unless type == :end

    UNIXSocket.for_fd(socket.tap { |io| io.autoclose = false }.fileno)
  end

  # The body of the response, which is a complete one.
  def get(path)
    request(path)
    type, payload = frame
    raise "#{path}: #{type} #{payload}" unless type == :complete

    payload.byteslice((4 + payload.unpack1("V"))..)
  end

  def end_queue = @queue.close

  # Lets go of everything at once, as the kernel does for an engine that has died.
  def die
    @control.close unless @dead
    @queue.close unless @queue.closed?
    @workers.each_value do |worker|
      worker[:control].close unless @dead
      worker[:streams].each { |stream| stream.close unless stream.closed? }
    end
    Native.close_fd(@queue_end) unless @dead
    @dead = true
  end

  # Waits for the end of the preloader: its exit status.
  def status
    @status ||= Timeout.timeout(PATIENCE) { Process.wait2(@pid).last }
  end

  def finish
    die
    status if @pid
  rescue Timeout::Error
    Process.kill("KILL", @pid)
    raise
  ensure
    @board.close
    @output&.close
  end

  # What the processes have written so far
  def output = File.read(@output.path)

  # Waits until they have written it.
  def written(pattern)
    Timeout.timeout(PATIENCE) { sleep(0.005) until output.match?(pattern) }
    output
  rescue Timeout::Error
    raise "#{pattern.inspect} was not written, but:\n#{output}"
  end

  def log = (@output ||= Tempfile.new("output"))

  private

  def spawn_preloader(peer, input)
    Process.spawn(OUTSIDE_BUNDLE.merge(@variables), RbConfig.ruby, File.join(ROOT, "phusion_passenger/preloader.rb"),
                  3 => peer, in: input, out: [log.path, "a"], err: [log.path, "a"])
  end

  def hello
    { "version" => 1, "generation" => 1, "app_root" => @dir, "startup_file" => File.join(@dir, "config.ru"),
      "environment" => @environment, "threads" => @threads, "capacity" => @capacity,
      "server_software" => "Phusion_Passenger/7.0.0", "log_to_stdout" => "0" }
  end
end
