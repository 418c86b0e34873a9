# frozen_string_literal: true

require_relative "asset_patterns"
require_relative "deploy_layout"
require_relative "option"

module PhusionPassenger
  # The option table: the one place where an option of the server is described. The command line, the PASSENGER_*
  # environment variables, `rackup -O`, the engine's settings and the documentation are made from it.
  module Options
    # The application's environment, when nobody names one.
    ENVIRONMENT_VARIABLES = %w[RAILS_ENV RACK_ENV NODE_ENV PASSENGER_APP_ENV].freeze

    # Upper limits, far above what makes sense, so that a slip of the finger is noticed. The engine has the same for
    # processes and threads.
    MOST_PROCESSES = 1024
    MOST_THREADS = 250
    MANY = 1_000_000
    MOST_MEGABYTES = 1024 * 1024
    MOST_BYTES = 1024 * 1024 * 1024

    TABLE = [
      Option.new(:address, type: :string, short: "-a", metavar: "HOST", default: "0.0.0.0",
                           help: "Listen on this address"),
      Option.new(:port, type: :integer, short: "-p", metavar: "PORT", default: 3000, range: 1..65_535,
                        help: "Listen on this port"),
      Option.new(:socket_file, type: :path, short: "-S", long: "socket", metavar: "FILE",
                               env: %w[PASSENGER_SOCKET_FILE PASSENGER_SOCKET],
                               help: "Listen on a Unix domain socket instead of an address and port"),
      Option.new(:environment, type: :string, short: "-e", metavar: "NAME",
                               default: ->(settings) { Options.environment_from(settings.env) },
                               default_text: "#{ENVIRONMENT_VARIABLES.map { |name| "$#{name}" }.join(' or ')} or development",
                               accepted_by: %i[start], help: "Run the application in this environment"),
      Option.new(:startup_file, type: :path, short: "-R", long: %w[rackup startup-file], metavar: "FILE",
                                env: %w[PASSENGER_STARTUP_FILE PASSENGER_RACKUP],
                                default: ->(settings) { File.join(settings.app_root, "config.ru") },
                                default_text: "config.ru in the application's directory",
                                accepted_by: %i[start], help: "Start the application from this rackup file"),
      Option.new(:spawn_method, type: :string, metavar: "METHOD", default: "smart", words: %w[smart direct],
                                help: "Fork worker processes from one that has loaded the application (smart), or let each load it (direct)"),
      Option.new(:max_pool_size, type: :integer, metavar: "NUMBER", default: 6, range: 1..MOST_PROCESSES, words: %w[auto],
                                 help: "Run at most this many (auto: as many as processors and memory allow) worker processes"),
      Option.new(:min_instances, type: :integer, metavar: "NUMBER", default: 1, range: 0..MOST_PROCESSES,
                                 help: "Keep at least this many worker processes"),
      Option.new(:pool_idle_time, type: :seconds, metavar: "SECONDS", default: 300, range: 0..MANY,
                                  help: "End worker processes that were not needed even in the busiest moment of this time; 0 is never"),
      Option.new(:concurrency_model, type: :string, metavar: "MODEL", words: %w[process thread], engine: false,
                                     default: ->(settings) { settings[:thread_count] > 1 ? "thread" : "process" },
                                     default_text: "thread if thread-count is more than 1, else process",
                                     help: "Handle one request at a time in each worker process (process), or thread-count (thread)"),
      Option.new(:thread_count, type: :integer, metavar: "NUMBER", default: 1, range: 1..MOST_THREADS,
                                help: "Handle this many requests at once in each worker process"),
      Option.new(:force_max_concurrent_requests_per_process, type: :integer, metavar: "NUMBER", default: -1, range: -1..MOST_THREADS,
                                                             default_text: "as they say",
                                                             help: "Handle this many requests at once in each worker process, whatever " \
                                                                   "thread-count and the application say; 0 and -1 leave it to them"),
      Option.new(:max_requests, type: :integer, metavar: "NUMBER", default: 0, range: 0..MANY,
                                help: "Replace a worker process after this many requests; 0 is never"),
      Option.new(:memory_limit, type: :megabytes, metavar: "MEGABYTES", default: 0, range: 0..MOST_MEGABYTES,
                                help: "Replace a worker process that takes more memory; 0 is never"),
      Option.new(:hard_memory_limit, type: :megabytes, metavar: "MEGABYTES", default: 0, range: 0..MOST_MEGABYTES,
                                     help: "Kill a worker process that takes more memory; 0 is never"),
      Option.new(:memory_measure, type: :string, metavar: "MEASURE", default: "pss", words: %w[pss rss],
                                  help: "Count shared memory in proportion (pss) or in full (rss) in the two limits"),
      Option.new(:max_request_time, type: :seconds, metavar: "SECONDS", default: 0, range: 0..MANY,
                                    help: "End requests that take longer, with the process that hangs in them; 0 is never"),
      Option.new(:start_timeout, type: :seconds, metavar: "SECONDS", default: 90, range: 1..MANY,
                                 help: "Give the application this long to start"),
      Option.new(:shutdown_timeout, type: :seconds, metavar: "SECONDS", default: 30, range: 0..MANY,
                                    help: "Give requests in flight this long to finish when the server stops"),
      Option.new(:max_request_queue_size, type: :integer, metavar: "NUMBER", default: 100, range: 0..MANY,
                                          help: "Let at most this many requests wait for a worker; 0 is no limit"),
      Option.new(:max_request_queue_time, type: :seconds, metavar: "SECONDS", default: 0, range: 0..MANY,
                                          help: "Refuse requests that have waited this long for a worker; 0 is never"),
      Option.new(:max_connections, type: :integer, metavar: "NUMBER", default: 0, range: 0..MANY,
                                   help: "Refuse connections of clients beyond this many; 0 is as many as there are file descriptors for"),
      Option.new(:max_connections_per_ip, type: :integer, metavar: "NUMBER", default: 0, range: 0..MANY,
                                          help: "Refuse connections from one address beyond this many (behind a proxy: from the proxy); 0 is never"),
      Option.new(:rolling_restarts, type: :boolean, default: false,
                                    help: "Replace worker processes a few at a time when the application is restarted"),
      Option.new(:rolling_restart_size, type: :integer, metavar: "NUMBER", default: 1, range: 1..MOST_PROCESSES,
                                        help: "Replace this many worker processes at a time; that many run beyond max-pool-size meanwhile"),
      Option.new(:resist_deployment_errors, type: :boolean, default: true,
                                            help: "Go on serving with the old processes when new code can't be started"),
      Option.new(:abort_websockets_on_process_shutdown, type: :boolean, default: true,
                                                        help: "Close WebSockets and other connections that the application has taken over " \
                                                              "when their worker process is to leave, instead of waiting for their end"),
      Option.new(:unlimited_concurrency_paths, type: :strings, metavar: "PATH", engine: false,
                                               long: %w[unlimited-concurrency-path unlimited-concurrency-paths],
                                               help: "Has no effect: WebSockets occupy no thread, whatever their path"),
      Option.new(:early_hints, type: :boolean, default: false,
                               help: "Let the application send 103 Early Hints (rack.early_hints)"),
      Option.new(:refork_after, type: :integer, metavar: "REQUESTS", default: 0, range: 0..MANY,
                                help: "Fork new worker processes from one that has served this many requests; 0 is never"),
      Option.new(:sticky_sessions, type: :boolean, default: false,
                                   help: "Send the requests of a client to the worker process that has served it first, by a cookie"),
      Option.new(:sticky_sessions_cookie_name, type: :string, metavar: "NAME", default: "_passenger_route",
                                               help: "Name that cookie so"),
      Option.new(:sticky_sessions_cookie_attributes, type: :string, metavar: "ATTRIBUTES", default: "SameSite=Lax",
                                                     help: "Give that cookie these attributes, besides HttpOnly, and Secure over https"),
      Option.new(:max_preloader_idle_time, type: :seconds, metavar: "SECONDS", default: 300, range: 0..MANY,
                                           help: "End a preloader that has had nothing to do for this long; 0 is never"),
      Option.new(:friendly_error_pages, type: :boolean, default: ->(settings) { settings[:environment] == "development" },
                                        default_text: "only in development",
                                        help: "Show details in the browser when the application can't start"),
      Option.new(:static_files_dir, type: :path, metavar: "DIR",
                                    default: ->(settings) { File.join(settings.app_root, "public") },
                                    default_text: "public in the application's directory",
                                    help: "Serve static files from this directory"),
      Option.new(:static_symlink_dirs, type: :paths, metavar: "DIR",
                                       default: ->(settings) { DeployLayout.directories(settings.app_root) },
                                       default_text: "the application's directory; of a Capistrano release also shared and releases",
                                       help: "Follow symlinks in the directory of static files into this directory, too"),
      Option.new(:static_cache_size, type: :megabytes, metavar: "MEGABYTES", default: 64, range: 0..MOST_MEGABYTES,
                                     help: "Keep at most this much of the static files in memory; 0 is none"),
      Option.new(:asset_patterns, type: :strings, metavar: "PATTERN", default: AssetPatterns::DEFAULT,
                                  default_text: "the names that Rails' asset pipelines give",
                                  help: "Let clients keep static files for ever whose URL path matches this regular expression"),
      Option.new(:page_caching, type: :boolean, default: true,
                                help: "Serve cached pages (*.html) without asking the application"),
      Option.new(:page_cache_dir, type: :path, metavar: "DIR",
                                  default_text: "what the application says, else the directory of static files",
                                  help: "Look for cached pages in this directory"),
      Option.new(:compression, type: :boolean, default: true,
                               help: "Compress responses and static files, and send precompressed files"),
      Option.new(:gzip_level, type: :integer, metavar: "LEVEL", default: 5, range: 1..9,
                              help: "Compress with gzip at this level"),
      Option.new(:brotli_level, type: :integer, metavar: "LEVEL", default: 4, range: 0..11,
                                help: "Compress with Brotli at this level"),
      Option.new(:compression_min_size, type: :bytes, metavar: "BYTES", default: 1000, range: 0..MOST_BYTES,
                                        help: "Leave smaller bodies uncompressed"),
      Option.new(:turbocaching, type: :boolean, off: "disable-turbocaching",
                                default: ->(settings) { settings[:environment] != "development" },
                                default_text: "true, but false in development",
                                help: "Answer from memory what the application has marked as cacheable for everybody"),
      Option.new(:turbocache_size, type: :megabytes, metavar: "MEGABYTES", default: 16, range: 1..MOST_MEGABYTES,
                                   help: "Keep at most this much of the application's responses in memory"),
      Option.new(:vary_turbocache_by_cookie, type: :string, metavar: "NAME",
                                             help: "Keep a response in memory for each value of this cookie"),
      Option.new(:sendfile_dirs, type: :paths, metavar: "DIR",
                                 default: ->(settings) { Options.default_sendfile_dirs(settings) },
                                 default_text: "as static-symlink-dirs, and $TMPDIR or /tmp",
                                 help: "Let the application name files in this directory with X-Sendfile"),
      Option.new(:x_accel_mappings, type: :strings, metavar: "MAPPING",
                                    help: "Let the application name files in DIR with X-Accel-Redirect: /PREFIX/…, with a mapping DIR=/PREFIX"),
      Option.new(:instance_registry_dir, type: :path, metavar: "DIR",
                                         default: ->(settings) { Options.temporary_directory(settings.env) },
                                         default_text: "$TMPDIR or /tmp",
                                         help: "Make the server's instance directory in this directory"),
      Option.new(:restart_dir, type: :app_path, metavar: "DIR", default: "tmp",
                               default_text: "tmp in the application's directory",
                               help: "Look for restart.txt and always_restart.txt in this directory"),
      Option.new(:log_file, type: :path, metavar: "FILE", default_text: "standard output",
                            help: "Write the server's and the application's output to this file"),
      Option.new(:pid_file, type: :path, metavar: "FILE",
                            default: ->(settings) { Options.default_pid_file(settings) },
                            default_text: "tmp/pids/passenger.PORT.pid if that directory exists, else passenger.PORT.pid",
                            accepted_by: %i[start], engine: false, help: "Keep the server's process id in this file")
    ].freeze

    BY_NAME = TABLE.to_h { |option| [option.name, option] }.freeze

    class << self
      def [](name) = BY_NAME.fetch(name)

      # The options that one consumer accepts (:start, :rack_handler).
      def for(consumer) = TABLE.select { |option| option.accepted_by?(consumer) }

      def environment_from(env)
        ENVIRONMENT_VARIABLES.each do |name|
          value = env[name]
          return value unless value.nil? || value.empty?
        end
        "development"
      end

      # "passenger.3000", or "passenger" for a server on a socket: what the default pid and log files are called after.
      def instance_name(settings) = settings[:socket_file] ? "passenger" : "passenger.#{settings[:port]}"

      def default_pid_file(settings)
        pids = File.join(settings.app_root, "tmp", "pids")
        File.join(File.directory?(pids) ? pids : settings.app_root, "#{instance_name(settings)}.pid")
      end

      # Where a server without a terminal writes.
      def default_log_file(settings)
        logs = File.join(settings.app_root, "log")
        File.join(File.directory?(logs) ? logs : settings.app_root, "#{instance_name(settings)}.log")
      end

      def default_sendfile_dirs(settings)
        DeployLayout.directories(settings.app_root) | [temporary_directory(settings.env)]
      end

      def temporary_directory(env)
        named = env["TMPDIR"].to_s
        named.empty? ? "/tmp" : File.expand_path(named)
      end

      # "; did you mean --max-pool-size?", or "" when nothing comes close.
      def suggestion(word, dictionary)
        require "did_you_mean"
        best = DidYouMean::SpellChecker.new(dictionary: dictionary).correct(word).first
        best ? "; did you mean #{best}?" : ""
      end
    end
  end
end
