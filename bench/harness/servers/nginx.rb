# frozen_string_literal: true

require "etc"

module Bench
  module Servers
    # nginx with a public directory and nothing behind it, set up for that as well as it can be: files are sent by the kernel and
    # stay open, nothing is logged, nothing is compressed on the fly. What it does for assets and cached pages is what the
    # original Passenger's nginx engine configures for a Rails application.
    module Nginx
      PROGRAM = "/usr/sbin/nginx"

      module_function

      def key
        :nginx
      end

      def label
        "nginx"
      end

      def missing
        "#{PROGRAM} is not there: apt-get install nginx" unless File.exist?(PROGRAM)
      end

      def version(_ruby)
        Shell.read(PROGRAM, "-v")[%r{nginx/([\d.]+)}, 1]
      end

      # `-e stderr`: otherwise it opens the system's error log before it has read the configuration.
      def command(launch)
        [PROGRAM, "-p", "#{launch.dir}/", "-e", "stderr", "-c", launch.file("nginx.conf")]
      end

      def prepare(launch)
        File.write(launch.file("nginx.conf"), configuration(launch))
      end

      def env(_launch)
        {}
      end

      def role(title)
        case title
        when /\Anginx: worker process/ then :worker
        when /\Anginx: master process|\A#{PROGRAM} / then :server
        end
      end

      # - reuseport spreads the connections over the workers; without it the first to wake up may take most of them.
      # - open_file_cache_errors keeps the misses too, which every request for a cached page begins with.
      # - The asset rule stands inside its prefix, so that other requests don't pay for the regular expression.
      # - The temporary directories are named because the compiled-in ones belong to the system's nginx.
      def configuration(launch)
        <<~CONF
          #{user_line}daemon off;
          worker_processes #{launch.processes};
          worker_rlimit_nofile 16384;
          pcre_jit on;
          pid #{launch.file('nginx.pid')};
          error_log stderr warn;

          events {
            worker_connections 4096;
          }

          http {
            types {
              text/html html;
              text/plain txt;
              text/css css;
              text/javascript js;
              image/png png;
              image/jpeg jpg;
            }
            default_type application/octet-stream;
            charset utf-8;

            access_log off;
            server_tokens off;
            sendfile on;
            tcp_nopush on;
            keepalive_timeout 60;
            keepalive_requests 1000000000;
            open_file_cache max=10000 inactive=60s;
            open_file_cache_valid 60s;
            open_file_cache_min_uses 1;
            open_file_cache_errors on;

            client_body_temp_path #{launch.file('body')};
            proxy_temp_path #{launch.file('proxy')};
            fastcgi_temp_path #{launch.file('fastcgi')};
            uwsgi_temp_path #{launch.file('uwsgi')};
            scgi_temp_path #{launch.file('scgi')};

            server {
              listen #{launch.host}:#{launch.port} reuseport backlog=1024;
              root #{launch.app.public_dir};

              location / {
                try_files $uri $uri.html $uri/index.html =404;
              }

              location /assets/ {
                location ~ "^/assets/.+-([0-9a-f]{32}|[0-9a-f]{64}|[0-9a-f]{20}|[0-9a-f]{8})\\..+" {
                  gzip_static on;
                  gzip_vary on;
                  expires max;
                  add_header Cache-Control public;
                  etag off;
                }
              }
            }
          }
        CONF
      end

      # As root, workers would become the user `nobody`, who may not look into the run's directory.
      def user_line
        return "" unless Process.uid.zero?

        "user #{Etc.getpwuid(Process.uid).name} #{Etc.getgrgid(Process.gid).name};\n"
      end
    end
  end
end
