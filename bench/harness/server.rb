# frozen_string_literal: true

require "fileutils"
require "shellwords"
require "socket"

module Bench
  # What a server needs to know to be started.
  Launch = Struct.new(:app, :ruby, :processes, :threads, :host, :port, :dir, keyword_init: true) do
    def file(name)
      File.join(dir, name)
    end
  end

  # One running server: a definition (Servers::*) with an app, a port and a keeper.
  class Server
    HOST = "127.0.0.1"
    # Rails apps take their time to boot on a slow machine.
    BOOT_TIMEOUT = 90

    attr_reader :definition, :launch

    # Binding to port 0 and letting go again is how the kernel names a port that is free.
    def self.free_port
      socket = TCPServer.new(HOST, 0)
      socket.addr[1]
    ensure
      socket&.close
    end

    def initialize(definition, app, setup, dir)
      @definition = definition
      FileUtils.mkdir_p(dir)
      @launch = Launch.new(app: app, ruby: setup.ruby, processes: setup.processes, threads: setup.threads,
                           host: HOST, port: self.class.free_port, dir: dir)
    end

    def key
      definition.key
    end

    def command
      definition.command(launch)
    end

    # The command without what is particular to this run and this machine.
    def public_command
      public_text(command.shelljoin)
    end

    # $DIR is the server's own directory, $RUN the one with everything that was made for this run.
    def public_text(text)
      { launch.dir => "$DIR", File.dirname(launch.dir) => "$RUN", launch.port.to_s => "$PORT", launch.ruby => "ruby", "#{ROOT}/" => "" }
        .reduce(text) { |result, (from, to)| result.gsub(from, to) }
    end

    def url(path = launch.app.path)
      "http://#{HOST}:#{launch.port}#{path}"
    end

    # The response to one request, whatever it is.
    def ask(path, headers = {})
      Probe.get(HOST, launch.port, path, headers) or fail_with("does not answer any more on #{url(path)}")
    end

    # Returns when the first right answer has come and all application processes are there.
    def start
      spawn
      @response = await("a first answer") { probe }
      insist_on_right(@response)
      await("#{launch.processes} application processes") { workers.size == launch.processes }
      self
    end

    # Seconds between the start of the command and the end of the first answer, which must have been right.
    def time_to_first_answer
      spawn
      response = await("a first answer", every: 0.01) { probe }
      taken = Clock.now - @started.at
      insist_on_right(response)
      taken
    end

    def stop
      @keeper&.stop || []
    end

    def processes
      @keeper.processes
    end

    # Processes that have lost their parent: the keeper has become it.
    def orphans
      processes.select { |entry| entry.parent == @keeper.pid && entry.pid != @started.pid }
    end

    def workers
      processes.select { |entry| definition.role(entry.title) == :worker }
    end

    def cpu_seconds
      @keeper.cpu_seconds
    end

    def memory
      processes.filter_map { |entry| ProcessTree.memory(entry.pid) }.sum(ProcessTree::Memory.zero)
    end

    # Names of the headers of the first answer, to see what each server adds.
    def response_headers
      @response.each_capitalized_name.to_a
    end

    # Raises when the server no longer gives the right answer.
    def check
      insist_on_right(ask(launch.app.path))
    end

    # What the server and its application have said last.
    def log_tail
      [log, launch.file("passenger.log")].select { |file| File.exist?(file) }.map { |file| File.read(file).lines.last(30).join }.join
    end

    private

    def spawn
      definition.prepare(launch) if definition.respond_to?(:prepare)
      @keeper = Keeper.new(command, env: env, chdir: launch.app.root, log: log)
      @started = @keeper.start
    end

    def insist_on_right(response)
      complaint = launch.app.complaint(response)
      fail_with("#{complaint} to #{url}") if complaint
    end

    # Nothing of the harness's own environment but what programs need to be found and to print text.
    def env
      { "PATH" => ENV.fetch("PATH"), "LANG" => "C.UTF-8", "HOME" => launch.dir, "TMPDIR" => launch.dir,
        "RACK_ENV" => "production", "RAILS_ENV" => "production" }.merge(definition.env(launch))
    end

    def log
      launch.file("output.log")
    end

    def probe
      Probe.get(HOST, launch.port, launch.app.path)
    end

    def await(what, every: 0.05)
      Clock.wait_until(BOOT_TIMEOUT, every: every) do
        result = yield
        fail_with("ended before there was #{what}") unless result || ProcessTree.find(@started.pid)
        result
      end || fail_with("did not get to #{what} in #{BOOT_TIMEOUT} s")
    end

    def fail_with(what)
      raise Error, "#{definition.label} #{what}\n  command: #{command.join(' ')}\n  its output:\n#{log_tail.gsub(/^/, '    ')}"
    end
  end
end
