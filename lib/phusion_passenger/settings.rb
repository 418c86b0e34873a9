# frozen_string_literal: true

require_relative "options"

module PhusionPassenger
  # The resolved options of one server. Options come in layers, each of which overrides the ones before it:
  #
  #   built-in defaults < defaults of the command < environment variables < command line
  #
  # A further source (a configuration file) is one more layer in the list.
  class Settings
    # One source of options.
    #
    # values::  option name => what was written there
    # places::  option name => how to call the place in a message
    # base::    directory that relative paths in this source are relative to
    Layer = Struct.new(:values, :places, :base) do
      def place(name) = places.fetch(name) { name.to_s }
    end

    STANDARD_OUTPUT = %w[/dev/stdout /dev/fd/1 /proc/self/fd/1].freeze

    attr_reader :app_root, :env

    class << self
      # What the PASSENGER_* variables say. An empty one counts as not set: that is how a variable is "removed" in many
      # process managers' files.
      def environment_layer(options, env: ENV, base: Dir.pwd)
        layer = Layer.new({}, {}, base)
        options.each do |option|
          variable = option.env.find { |name| !env[name].to_s.empty? } or next
          layer.values[option.name] = env[variable]
          layer.places[option.name] = variable
        end
        layer
      end
    end

    # app_root::  absolute directory of the application
    # layers::    lowest first
    # env::       the process environment, for defaults that depend on it
    def initialize(app_root:, layers:, env: ENV)
      @app_root = app_root
      @env = env
      @values = {}
      @ranks = Hash.new(-1)
      layers.each_with_index { |layer, rank| apply(layer, rank) }
      choose_log
      choose_listener
      choose_threads
      check_relations
      resolve_address
    end

    # The option's value; its default if nobody has set it.
    def [](name)
      option = Options[name]
      return @values[name] if @values.key?(name)

      value = option.default.respond_to?(:call) ? option.default.call(self) : option.default
      @values[name] = option.type == :app_path ? File.expand_path(value, app_root) : value
    end

    # Whether somebody has set the option.
    def given?(name) = @ranks.key?(name)

    # What the engine is told: every option that concerns it, plus the application's directory.
    def to_engine
      told = Options::TABLE.select(&:engine?).to_h { |option| [option.name, self[option.name]] }
      told.compact.merge(app_root: app_root)
    end

    # What whoever made the settings should know, one line each.
    def notes
      paths = self[:unlimited_concurrency_paths] or return []
      ["unlimited_concurrency_paths (#{paths.join(", ")}) is not needed: connections that the application takes over, as Action Cable " \
       "does, occupy no thread, and there is no limit to their number in a process"]
    end

    private

    def apply(layer, rank)
      layer.values.each do |name, raw|
        option = Options[name]
        value = option.parse(raw, place: layer.place(name), base: layer.base)
        value = File.expand_path(value, app_root) if option.type == :app_path
        @values[name] = value
        @ranks[name] = rank
      end
    end

    # Naming standard output as the log file asks for what happens without a log file.
    def choose_log
      @values.delete(:log_file) if STANDARD_OUTPUT.include?(@values[:log_file])
    end

    # A socket and an address exclude each other. The one from the stronger source wins; from one source they contradict
    # each other.
    def choose_listener
      return unless @values[:socket_file]

      tcp = [@ranks[:address], @ranks[:port]].max
      case tcp <=> @ranks[:socket_file]
      when 1 then @values[:socket_file] = nil
      when 0
        raise OptionError, "--socket and --address/--port can't be used together: " \
                           "the server listens either on a Unix domain socket or on a port"
      end
    end

    # The process model has one thread, whatever a weaker source says of their number.
    def choose_threads
      return unless @values[:concurrency_model] == "process" && self[:thread_count] > 1

      if @ranks[:thread_count] >= @ranks[:concurrency_model]
        raise OptionError, "concurrency-model process has one thread; it can't be used together with thread-count #{self[:thread_count]}"
      end
      @values[:thread_count] = 1
    end

    def check_relations
      most = self[:max_pool_size]
      if most.is_a?(Integer) && self[:min_instances] > most
        raise OptionError, "min-instances (#{self[:min_instances]}) can't be larger than max-pool-size (#{most})"
      end
      soft, hard = self[:memory_limit], self[:hard_memory_limit]
      if hard.positive? && soft > hard
        raise OptionError, "memory-limit (#{soft}) can't be larger than hard-memory-limit (#{hard}): it would never count"
      end
      return unless self[:refork_after].positive? && self[:spawn_method] == "direct"

      raise OptionError, "refork-after can't be used together with spawn-method direct, in which no process is forked from another"
    end

    # The engine gets an IP address: `localhost` is always the IPv4 one, so that the URL in the banner, the one that Rails
    # prints and the one that people type are the same server; other names are looked up.
    def resolve_address
      return if self[:socket_file]

      host = self[:address].delete_prefix("[").delete_suffix("]")
      @values[:address] = host.casecmp?("localhost") ? "127.0.0.1" : look_up(host)
    end

    def look_up(host)
      return host if host.match?(/\A(\d{1,3}\.){3}\d{1,3}\z/) || host.include?(":")

      require "socket"
      Addrinfo.getaddrinfo(host, nil, nil, :STREAM).first.ip_address
    rescue SocketError => e
      raise OptionError, "can't listen on #{host.inspect}: #{e.message.sub(/\Agetaddrinfo: /, '')}"
    end
  end
end
