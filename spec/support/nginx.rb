# frozen_string_literal: true

module Harness
  # Debian's nginx with the configuration that people put in front of, or get from, Passenger: far-future headers for digested
  # assets with precompressed twins, existing files, cached pages, and the application for the rest. It needs no root, uses only
  # a directory of its own, and stands for the application itself: whatever is the application's to answer says so in a header.
  class NginxServer < Server
    # The types that both servers shall name the same.
    TYPES = { "text/html" => "html", "text/css" => "css", "text/javascript" => "js", "text/plain" => "txt",
              "application/json" => "json", "image/png" => "png", "application/pdf" => "pdf" }.freeze
    ASSETS = "^/(assets|packs)/.+-([0-9a-f]{32}|[0-9a-f]{64}|[0-9a-f]{20}|[0-9a-f]{8})\\..+"

    def self.installed?
      File.executable?("/usr/sbin/nginx")
    end

    def initialize(public_directory)
      @prefix = Suite.new_directory("nginx")
      @public_directory = public_directory
      address = ["127.0.0.1", Server.free_port]
      @error_log = File.join(@prefix, "error.log")
      config = File.join(@prefix, "nginx.conf")
      File.write(config, configuration(address.last))
      super(["/usr/sbin/nginx", "-p", @prefix, "-e", @error_log, "-c", config], address: address, directory: @prefix, name: "nginx")
    end

    def output_paths
      super + [@error_log]
    end

    def tail
      "#{super}--- its error log\n#{File.readlines(@error_log).last(TAIL_LINES).join if File.exist?(@error_log)}"
    end

    private

    def configuration(port)
      <<~CONF
        daemon off;
        # One process, which may read what its user may read.
        master_process off;
        pid #{@prefix}/nginx.pid;
        error_log #{@error_log} warn;
        events { worker_connections 256; }
        http {
          access_log off;
          #{%w[client_body proxy fastcgi uwsgi scgi].map { |kind| "#{kind}_temp_path #{@prefix}/#{kind};" }.join("\n  ")}
          types {
            #{TYPES.map { |type, extension| "#{type} #{extension};" }.join("\n    ")}
          }
          default_type application/octet-stream;
          charset utf-8;
          charset_types text/html text/css text/javascript text/plain;
          gzip_vary on;
          large_client_header_buffers 4 64k;
          server {
            listen 127.0.0.1:#{port};
            root #{@public_directory};
            location ~ "#{ASSETS}" {
              error_page 404 = @app;
              gzip_static on;
              expires max;
              add_header Cache-Control public;
              add_header ETag "";
            }
            location / {
              try_files $uri $page @app;
            }
            location @app {
              default_type text/plain;
              add_header X-App yes always;
              return 200 "the application";
            }
          }
          # Where Rails' page caching puts the page of a path; asked for it are GET and HEAD alone.
          map "$request_method $uri" $page {
            default /no-page;
            "~^(GET|HEAD) (?<directory>.*/)$" ${directory}index.html;
            "~^(GET|HEAD) (?<path>.+)$" $path.html;
          }
        }
      CONF
    end
  end
end

module Harness
  # For example groups that ask this server and nginx the same.
  module BesideNginx
    # Serves one directory by both for the whole group: `server` and `nginx`.
    def serve_beside_nginx(files)
      before(:context) do
        skip "nginx is not installed" unless NginxServer.installed?

        directory = StaticSite.directory(files)
        @nginx = NginxServer.new(File.join(directory, "public")).start
        @server = Harness.server(directory, max_pool_size: 1).start
        StaticSite.settle(File.join(directory, "public", files.keys.last))
      end

      after(:context) do
        [@server, @nginx].compact.each(&:stop)
      ensure
        [@server, @nginx].compact.each { |one| one.destroy if one.running? }
      end

      attr_reader :nginx

      # The directive is younger than the usual configuration of nginx (RFC 8246).
      define_method(:without_immutable) do |facts|
        facts.key?("cache-control") ? facts.merge("cache-control" => facts["cache-control"] - ["immutable"]) : facts
      end
    end

    # table: sentence => [status of both, method, target, headers]
    def answer_alike(table)
      table.each do |sentence, (status, *request)|
        it "answer #{sentence} with #{status}, as nginx does" do
          theirs = facts_of(nginx, *request)
          expect(theirs[:status]).to eq(status)
          expect(without_immutable(facts_of(server, *request))).to eq(theirs)
        end
      end
    end

    # Differences on purpose. table: sentence => [what is different, our facts, nginx's facts, method, target, headers]
    def answer_otherwise(table)
      table.each do |sentence, (reason, ours, theirs, *request)|
        it "answer #{sentence} with #{ours[:status]}, where nginx has #{theirs.fetch(:status, theirs)}: #{reason}" do
          expect(facts_of(nginx, *request)).to include(theirs)
          expect(facts_of(server, *request)).to include(ours)
        end
      end
    end
  end
end

RSpec.configure { |config| config.extend Harness::BesideNginx }
