# frozen_string_literal: true

require "cgi"
require "etc"

module Harness
  # PostgreSQL with an empty cluster of its own. It refuses to run as root: there its user is the one that Debian's package
  # makes.
  class PostgresqlServer < Service
    PACKAGE_USER = "postgres"
    # Who may do everything in the cluster, by whatever user of the system it was made
    SUPERUSER = "postgres"
    PORT = 5432
    SETTINGS = { listen_addresses: "", unix_socket_permissions: "0777", max_connections: 250, shared_buffers: "16MB",
                 fsync: "off", synchronous_commit: "off", full_page_writes: "off", autovacuum: "off",
                 # so that nothing is left outside of the directory, even after kill -9
                 dynamic_shared_memory_type: "mmap" }.freeze

    class << self
      def installed? = !program("initdb").nil?

      # The latest version that is installed; Debian keeps them out of PATH.
      def program(name)
        Dir.glob("/usr/lib/postgresql/*/bin/#{name}").max_by { |path| path[%r{postgresql/(\d+)}, 1].to_i }
      end

      # The command, as a user that PostgreSQL accepts.
      def unprivileged(*argv)
        return argv unless Process.uid.zero?

        ["setpriv", "--reuid=#{PACKAGE_USER}", "--regid=#{PACKAGE_USER}", "--clear-groups", "--", *argv]
      end
    end

    def initialize
      home = Suite.new_directory("postgresql")
      make_accessible(home)
      @data = File.join(home, "data")
      settings = SETTINGS.flat_map { |name, value| ["-c", "#{name}=#{value}"] }
      super(PostgresqlServer.unprivileged(PostgresqlServer.program("postgres"), "-D", @data, "-k", home, "-p", PORT.to_s, *settings),
            directory: home, socket: File.join(home, ".s.PGSQL.#{PORT}"), name: "postgresql")
    end

    def start
      ask(*PostgresqlServer.unprivileged(PostgresqlServer.program("initdb"), "-D", @data, "--username=#{SUPERUSER}", "--auth=trust",
                                         "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"))
      super
      Harness.eventually("PostgreSQL accepting connections", within: BOOT_SECONDS) { accepts_connections? }
      self
    end

    # TERM would wait for clients.
    def stop(signal = :INT) = super

    # Rows as Arrays of Strings.
    def query(sql, database: "postgres")
      ask("psql", "-X", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-h", directory, "-p", PORT.to_s, "-U", SUPERUSER, "-d", database,
          "-c", sql).lines(chomp: true).map { |line| line.split("\t", -1) }
    end

    def create_database(name) = query("CREATE DATABASE #{name}")

    # For DATABASE_URL. Rails takes no host from the query.
    def url(database) = "postgresql://#{SUPERUSER}@#{CGI.escape(directory)}:#{PORT}/#{database}"

    # The entries of a database in config/database.yml.
    def settings(database)
      { "adapter" => "postgresql", "host" => directory, "port" => PORT, "username" => SUPERUSER, "database" => database }
    end

    # Process ids of the backends that serve clients, psql's own not counted.
    def backends
      query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
        .map { |(pid)| Integer(pid) }
    end

    private

    def accepts_connections?
      query("SELECT 1") == [["1"]]
    rescue Failure
      false
    end

    # Its user must get there, and may look at nothing else on the way.
    def make_accessible(home)
      return unless Process.uid.zero?

      File.chmod(0o711, Suite.directory)
      user = Etc.getpwnam(PACKAGE_USER)
      File.chown(user.uid, user.gid, home)
    end
  end
end
