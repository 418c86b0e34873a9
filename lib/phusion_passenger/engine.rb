# frozen_string_literal: true

require "json"
require "rbconfig"
require_relative "version"

module PhusionPassenger
  # The Go engine inside this process. Loading its library starts Go's runtime, which doesn't survive a fork: whoever wants
  # to fork application code does so before Engine#start.
  class Engine
    # The engine could not be loaded or started, or it misbehaved. The message is one sentence for the person who started
    # the server.
    class Error < StandardError; end

    # What the engine reports while it runs: kind is :listening (text: the URL), :ready (the first worker is),
    # :boot_error (text: the error's id) or :stopped (text: the exit code).
    Event = Struct.new(:kind, :text)
    EVENT_KINDS = %w[listening ready boot_error stopped].freeze

    ROOT = File.expand_path("../..", __dir__)
    PRELOADER = File.join(ROOT, "phusion_passenger", "preloader.rb")
    SERVER_SOFTWARE = "Phusion_Passenger/#{VERSION}"

    class << self
      # Loads the C extension. It is always the one that belongs to this file: another `phusion_passenger` may be on the
      # load path (Debian packages the original Passenger).
      def load_native
        return if defined?(Native)

        file = built_file("native.so")
        begin
          require file
        rescue LoadError => e
          reason = e.message.lines.first.chomp.delete_prefix("#{file}: ").delete_suffix(" - #{file}")
          raise Error, "#{file} can't be loaded (#{reason}); it may have been built for another Ruby: #{remedy}"
        end
      end

      def library = built_file("libpassenger.so")

      private

      # RubyGems puts what it has built next to the Ruby files, or, if it is told so, only into a directory of its own.
      def built_file(name)
        spec = Gem.loaded_specs["passenger"] if defined?(Gem)
        directories = [__dir__]
        directories << File.join(spec.extension_dir, "phusion_passenger") if spec && spec.full_gem_path == ROOT
        paths = directories.map { |directory| File.join(directory, name) }
        paths.find { |path| File.file?(path) } or raise Error, "#{paths.first} is missing: #{remedy}"
      end

      def remedy
        return "run `bundle exec rake compile` in #{ROOT}" if File.file?(File.join(ROOT, "Rakefile"))

        "reinstall the gem (`gem pristine passenger`)"
      end
    end

    # options:: what Settings#to_engine gives, plus the caller's own keys
    def initialize(options)
      @options = options
    end

    def started? = !@handle.nil?

    # Starts to listen. Raises Error if that is not possible.
    def start
      self.class.load_native
      library = self.class.library
      @events, writer = IO.pipe
      # The descriptor belongs to the engine from now on, whether it starts or not.
      writer.autoclose = false
      @handle = start_native(library, JSON.generate(internal_options.merge(@options, notify_fd: writer.fileno)))
      self
    end

    # The pipe to wait on for events; readable when there is one.
    attr_reader :events

    # The events that have come in, without waiting. Raises Error when the engine has ended without saying so.
    def read_events
      chunk = @events.read_nonblock(4096, exception: false)
      return [] if chunk == :wait_readable
      raise Error, "the engine ended without being stopped" if chunk.nil?

      (@rest ||= +"") << chunk
      lines = @rest.slice!(0, (@rest.rindex("\n") || -1) + 1).lines(chomp: true)
      lines.map { |line| event(line) }
    end

    # Begins to stop: no new requests, those in flight get shutdown_timeout to finish, or none with force. Returns at once;
    # the :stopped event tells the end.
    def stop(force: false)
      Native.engine_stop(@handle, force) if started?
    end

    # Replaces the application's processes by fresh ones.
    def restart
      Native.engine_restart(@handle) if started?
    end

    private

    def start_native(library, json)
      Native.engine_start(library, json)
    rescue Native::EngineError => e
      raise Error, e.message
    end

    def internal_options
      {
        ruby: RbConfig.ruby,
        preloader: PRELOADER,
        server_software: SERVER_SOFTWARE,
        version: VERSION
      }
    end

    def event(line)
      kind, text = line.split(" ", 2)
      raise Error, "the engine sent an unknown event: #{line.inspect}" unless EVENT_KINDS.include?(kind)

      Event.new(kind.to_sym, text)
    end
  end
end
