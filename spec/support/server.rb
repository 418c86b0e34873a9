# frozen_string_literal: true

require "socket"

module Harness
  # A started command with its output in a file. Subclasses know which command it is and where it listens.
  class Command
    class Failed < StandardError; end

    SHUTDOWN_SECONDS = 35
    TAIL_LINES = 60

    attr_reader :pid, :directory, :name, :argv, :environment, :registry

    @running = []
    class << self
      attr_reader :running
    end

    def initialize(argv, directory:, environment: {}, name: File.basename(argv.first))
      @argv = argv
      @directory = directory
      @name = name
      @own_registry = !environment.key?("PASSENGER_INSTANCE_REGISTRY_DIR")
      @registry = environment.fetch("PASSENGER_INSTANCE_REGISTRY_DIR") { Suite.new_directory("#{name}-instances") }
      @environment = { "PASSENGER_INSTANCE_REGISTRY_DIR" => @registry, **environment }
    end

    def start
      @output_path = File.join(Suite.new_directory(name), "output.log")
      output = File.open(@output_path, File::WRONLY | File::CREAT | File::APPEND)
      # A process group of its own: a signal to the group must never reach the suite. PWD as a shell sets it, with symbolic
      # links kept.
      @pid = Process.spawn(Suite.environment({ "PWD" => directory, **@environment }), *@argv, chdir: directory, pgroup: true, in: File::NULL,
                                                             out: output, err: output, unsetenv_others: true)
      output.close
      @waiter = Process.detach(@pid)
      Command.running << self
      self
    end

    def output
      @output_path && File.exist?(@output_path) ? File.read(@output_path, encoding: "UTF-8").scrub : ""
    end

    # The files that tell what happened.
    def output_paths
      [@output_path]
    end

    def running?
      @waiter&.alive?
    end

    def signal(name)
      Process.kill(name, @pid)
    end

    # Waits for the end of the command by itself.
    def wait(within: SHUTDOWN_SECONDS)
      deadline = Deadline.new(within)
      @waiter.join(deadline.left) or fail!("#{name} did not end within #{within} s")
      Command.running.delete(self)
      forget_instances if @waiter.value.signaled?
      @waiter.value
    end

    # Every process that belongs to the command, itself not counted: those below it, and those of its process group, for a
    # process whose parent has died is no longer below it.
    def processes
      (ProcFS.descendants(@pid) | group_members) - [@pid]
    end

    def group_members
      ProcFS.pids.select { |candidate| ProcFS.group(candidate) == @pid && ProcFS.alive?(candidate) }
    end

    # For the end of a failed example: nothing may be left that disturbs the next one.
    def destroy
      [@pid, *processes].each do |member|
        Process.kill(:KILL, member)
      rescue Errno::ESRCH
        next
      end
      @waiter&.join(5)
      Command.running.delete(self)
      forget_instances
    end

    # A server that is killed can't remove its instance directory, and there is no next server in a registry of its own.
    def forget_instances
      FileUtils.rm_rf(Dir.glob(File.join(registry, "*"))) if @own_registry
    end

    def fail!(message)
      raise Failed, "#{message}\n--- last output of #{name} (#{@output_path})\n#{tail}"
    end

    def tail
      output.lines.last(TAIL_LINES).join
    end
  end

  # A server that can be connected to. address is [host, port] or the path of a Unix socket.
  class Server < Command
    BOOT_SECONDS = 60

    attr_reader :address

    def self.free_port(host = "127.0.0.1")
      TCPServer.open(host, 0) { |socket| socket.addr[1] }.tap { |port| Suite.ports << port }
    end

    def initialize(argv, address:, **rest)
      @address = address
      super(argv, **rest)
    end

    def start
      super
      wait_until_listening
      self
    end

    def port
      address.last
    end

    def wait_until_listening
      Harness.eventually(-> { "listening of #{name}" }, within: BOOT_SECONDS) do
        fail!("#{name} ended with #{@waiter.value} before it listened") unless running?

        reachable?
      end
    rescue DeadlineExceeded => error
      destroy
      fail!(error.message)
    end

    def reachable?
      HTTPClient.open(address, &:close)
      true
    rescue Errno::ECONNREFUSED, Errno::ENOENT, Errno::ECONNRESET
      false
    end

    def connect(**options, &block)
      HTTPClient.open(address, **options, &block)
    end

    # One request on a connection of its own.
    def get(target, within: Deadline::DEFAULT_SECONDS, **rest)
      connect(within: within) { |client| client.get(target, **rest) }
    end

    def head(target, **rest)
      connect { |client| client.head(target, **rest) }
    end

    def post(target, body, **rest)
      connect { |client| client.post(target, body, **rest) }
    end

    # The orderly end, with everything that belongs to it: exit status 0, no process, no socket.
    def stop(signal = :TERM)
      return unless running?

      family = processes
      signal(signal)
      status = wait
      fail!("#{name} ended with #{status}, expected exit 0 after SIG#{signal}") unless status.exitstatus&.zero?
      assert_nothing_left(family)
      status
    end

    def assert_nothing_left(family)
      left = -> { (family.select { |member| ProcFS.alive?(member) } | group_members) }
      Harness.eventually(-> { "end of #{left.call.map { |member| ProcFS.describe(member) }}" }, within: 3) { left.call.empty? }
      fail!("#{name} still listens on #{address} after its end") if reachable?
      fail!("#{name} left its socket #{address}") if address.is_a?(String) && File.exist?(address)
      fail!("#{name} left #{Dir.children(registry)} in #{registry}") if @own_registry && !Dir.empty?(registry)
    end
  end

  # `passenger start`, run as people run it: under `bundle exec`.
  class PassengerServer < Server
    COMMAND = ["ruby", "-I#{ROOT}/lib", "#{ROOT}/exe/passenger"].freeze

    attr_reader :options, :log_path, :pid_path

    def self.command(*arguments, bundled: true)
      [*(%w[bundle exec] if bundled), *COMMAND, *arguments.map(&:to_s)]
    end

    # The keys of options are the names on the command line with underscores. bundled: false starts the command as it is
    # started where the gem is installed and no bundle is active.
    def initialize(directory, environment: {}, bundled: true, **options)
      @log_path = options[:log_file] || File.join(directory, "server.log")
      @pid_path = options[:pid_file] || File.join(directory, "server.pid")
      @options = { log_file: @log_path, pid_file: @pid_path, **place(options), **options }
      address = @options[:socket] || [@options[:address], @options[:port]]
      environment = { "BUNDLE_GEMFILE" => nil, **environment } unless bundled
      super(PassengerServer.command("start", *arguments, bundled: bundled), address: address, directory: directory,
                                                                            environment: environment, name: "passenger")
    end

    def log
      File.exist?(log_path) ? File.read(log_path, encoding: "UTF-8").scrub : ""
    end

    def output_paths
      super + [log_path]
    end

    # All that the server has said, wherever it said it.
    def said
      output + log
    end

    def tail
      "#{super}--- last lines of its log (#{log_path})\n#{log.lines.last(TAIL_LINES).join}"
    end

    def workers
      processes.select { |member| ProcFS.title(member)&.start_with?("Passenger RubyApp: ") }
    end

    def preloader
      processes.find { |member| ProcFS.title(member)&.start_with?("Passenger AppPreloader: ") }
    end

    def stop(signal = :TERM)
      super.tap { fail!("#{pid_path} is still there after the end") if File.exist?(pid_path) }
    end

    private

    def place(options)
      options[:socket] ? {} : { address: "127.0.0.1", port: Server.free_port }
    end

    # A switch is true or false, a list an Array.
    def arguments
      @options.flat_map do |key, value|
        name = key.to_s.tr("_", "-")
        case value
        when true then ["--#{name}"]
        when false then ["--no-#{name}"]
        else Array(value).flat_map { |one| ["--#{name}", one.to_s] }
        end
      end
    end
  end
end
