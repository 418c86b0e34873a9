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
  attr_writer :spawn_method

  # files:: name => content, of the application
  def initialize(dir, files, threads: 1, environment: "production", variables: {}, capacity: 8, spawn_method: "smart")
    @dir = dir
    files.each { |name, content| write(name, content) }
    @threads = threads
    @environment = environment
    @variables = variables
    @capacity = capacity
    @spawn_method = spawn_method
    @workers = {}
    @retired = [] # control sockets of preloaders that have a successor
    @sequence = 0
    queue, @queue_end = Native.socketpair(:seqpacket)
    @queue = UNIXSocket.for_fd(queue)
    @board = File.open(Dir.tmpdir, File::RDWR | File::TMPFILE, 0o600)
    @board.truncate(64 * (2 * capacity + 1))
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

  # Has a worker become a preloader, which forks the workers from now on: what the worker says about it.
  def promote(number = 1)
    engine, theirs = Native.socketpair(:seqpacket)
    worker_control(number).post("promote", {}, [theirs])
    Native.close_fd(theirs)
    answer = heard(worker_control(number))
    return answer.tap { Native.close_fd(engine) } if answer&.first != "promoted"

    @retired << @control
    @control = Control.new(engine)
    @control.post("hello", hello, [@queue_end, @board.fileno])
    answer
  end

  # Has a worker forked and waits until it is ready; returns its number.
  # direct: it gets a queue of its own, too
  def worker(number = @workers.size + 1, wait: true, direct: false)
    engine, theirs = Native.socketpair(:seqpacket)
    streams = Array.new(@threads) { Native.socketpair(:stream) }
    first = @workers.size * @threads
    worker = { control: Control.new(engine), streams: streams.map { |ours, _| UNIXSocket.for_fd(ours) } }
    fds = [theirs, *streams.map(&:last)]
    fields = { "worker" => number, "slots" => Array.new(@threads) { |i| first + i }.join(","), "place" => @workers.size }
    if direct
      ours, direct_queue = Native.socketpair(:seqpacket)
      worker[:direct] = UNIXSocket.for_fd(ours)
      fields.update("direct_queue" => "1", "id" => "4711")
      fds << direct_queue
    end
    @control.post("spawn", fields, fds)
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

  # As it is called in /proc
  def board_name = File.readlink("/proc/self/fd/#{@board.fileno}")

  def worker_pid(number = 1) = @workers[number][:pid]
  def worker_control(number = 1) = @workers[number][:control]

  # For the worker of that number alone, or for any.
  def request(path, environment = {}, worker: nil)
    @sequence += 1
    fields = SlotDriver::REQUEST.merge("PATH_INFO" => path, **environment).map do |name, value|
      key = SlotDriver::KEYS.index(name)
      (key ? [key + 1].pack("C") : [0, name.bytesize].pack("Cv") + name) + [value.bytesize].pack("V") + value.b
    end.join
    queue = worker ? @workers[worker].fetch(:direct) : @queue
    queue.sendmsg([1, 1, 0, 0, fields.bytesize, @sequence << 24, 0, 0].pack("CCCCVQ<Q<Q<") + fields)
  end

  # The next frame of any worker as [type, payload], or nil when a worker has closed its stream.
  def frame
    streams = @workers.values.flat_map { |worker| worker[:streams] }.reject(&:closed?)
    ready, = IO.select(streams, nil, nil, PATIENCE)
    raise "no response" unless ready

    header = ready.first.read(16) or return ready.first.close
    _, type, _, length, = header.unpack("CCvVQ<")
    [SlotDriver::TYPES.fetch(type), length.zero? ? "" : ready.first.read(length)]
  end

  # The next frame, whichever workers leave meanwhile.
  def answer
    loop do
      found = frame
      return found if found
    end
  end

  # The engine's end of a connection that the application takes over: the response to the request.
  def hijacked(path)
    request(path)
    ready, = IO.select(@workers.values.flat_map { |worker| worker[:streams] }, nil, nil, PATIENCE)
    raise "#{path}: no response" unless ready

    stream = ready.first
    header, _, _, control = stream.recvmsg(16, scm_rights: true)
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
    type, payload = answer
    raise "#{path}: #{type} #{payload}" unless type == :complete

    payload.byteslice((4 + payload.unpack1("V"))..)
  end

  def end_queue = @queue.close

  # Closes the control socket of the process that has loaded the application.
  def hang_up
    [@control, *@retired].each(&:close) unless @hung_up
    @hung_up = true
  end

  # Has the preloader end that was there before the current one.
  def drop_predecessor = @retired.pop.close

  # Lets go of everything at once, as the kernel does for an engine that has died.
  def die
    hang_up
    @queue.close unless @queue.closed?
    @workers.each_value do |worker|
      worker[:control].close unless @dead
      worker[:direct].close if worker[:direct] && !@dead
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
      "server_software" => "Phusion_Passenger/7.0.0", "log_to_stdout" => "0",
      "spawn_method" => @spawn_method }
  end
end

RSpec.shared_context "with application processes" do
  around do |example|
    Dir.mktmpdir do |dir|
      @dir = dir
      example.run
    end
  end

  after { @engine&.finish }

  def engine(config, files = {}, **options)
    @engine = StandInEngine.new(@dir, { "config.ru" => config, **files }, **options)
  end

  # An application that has started, with one worker
  def serving(config, files = {}, **options)
    engine(config, files, **options).start
    verb, fields = @engine.heard
    raise "not loaded: #{verb} #{fields}\n#{@engine.output}" unless verb == "loaded"

    @engine.worker
    @engine
  end

  def running?(pid)
    Process.kill(0, pid)
    !File.read("/proc/#{pid}/stat").match?(/\A\d+ \(.*\) [ZX]/m)
  rescue Errno::ESRCH, Errno::ENOENT
    false
  end

  def seconds_until_gone(*pids)
    start = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    Timeout.timeout(10) { sleep(0.005) while pids.any? { |pid| running?(pid) } }
    Process.clock_gettime(Process::CLOCK_MONOTONIC) - start
  end

  def sockets_of(pid)
    Dir.children("/proc/#{pid}/fd").map { |fd| File.readlink("/proc/#{pid}/fd/#{fd}") }.grep(/socket/)
  rescue Errno::ENOENT
    retry # a descriptor was closed while the list was read
  end

  def app(body) = "run ->(env) { [200, {}, [(#{body}).to_s]] }\n"
end
