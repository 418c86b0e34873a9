# frozen_string_literal: true

require "openssl"

module Harness
  # A client that speaks TLS and trusts anybody.
  class TLSClient < HTTPClient
    # What the client needs of a socket besides reading and writing
    class Socket < OpenSSL::SSL::SSLSocket
      def wait_readable(seconds) = pending.positive? ? self : to_io.wait_readable(seconds)
      def wait_writable(seconds) = to_io.wait_writable(seconds)
      def setsockopt(...) = to_io.setsockopt(...)
    end

    private

    def connect(address, receive_buffer)
      context = OpenSSL::SSL::SSLContext.new
      context.verify_mode = OpenSSL::SSL::VERIFY_NONE
      Socket.new(super, context).tap do |socket|
        socket.sync_close = true
        socket.connect
      end
    end
  end

  # A server that ends TLS and passes everything on to the server under test, configured as docs/action-cable-deployment.md
  # tells. What is written there is what runs here.
  class Proxy < Server
    GUIDE = File.join(ROOT, "docs/action-cable-deployment.md")

    # The block of the guide that is marked as the configuration of this program, with what stands for places replaced.
    def self.configuration(language, replacements)
      text = File.read(GUIDE)[/^```#{language}\n(.*?)^```/m, 1] or raise "#{GUIDE} has no block ```#{language}"
      replacements.each do |example, actual|
        raise "#{GUIDE}: the block ```#{language} does not mention #{example}" unless text.include?(example)

        text = text.gsub(example, actual)
      end
      text
    end

    # The certificate, and its key, in one file.
    def self.certificate(directory)
      key = OpenSSL::PKey::RSA.new(2048)
      certificate = OpenSSL::X509::Certificate.new
      certificate.version = 2
      certificate.serial = 1
      certificate.subject = certificate.issuer = OpenSSL::X509::Name.parse("/CN=localhost")
      certificate.public_key = key.public_key
      certificate.not_before = Time.now - 3600
      certificate.not_after = Time.now + 86_400
      certificate.sign(key, OpenSSL::Digest.new("SHA256"))
      File.join(directory, "site.pem").tap { |path| File.write(path, certificate.to_pem + key.to_pem) }
    end

    def self.installed? = File.executable?(const_get(:PROGRAM))

    # behind: the server under test
    def initialize(behind)
      @behind = behind
      @home = Suite.new_directory(self.class.name[/\w+\z/])
      @certificate = Proxy.certificate(@home)
      @config = File.join(@home, "proxy.conf")
      address = ["127.0.0.1", Server.free_port]
      File.write(@config, configuration(address.join(":"), @behind.address.join(":")))
      super([self.class::PROGRAM, *arguments], address: address, directory: @home, name: File.basename(self.class::PROGRAM))
    end

    def connect(**options, &block)
      TLSClient.open(address, **options, &block)
    end

    def origin = "https://#{address.join(":")}"

    # Ended by itself, as it ends on TERM: HAProxy says so with the signal's number.
    def stop(signal = :TERM)
      signal(signal)
      wait
    end
  end

  class NginxProxy < Proxy
    PROGRAM = "/usr/sbin/nginx"

    private

    def arguments = ["-p", @home, "-e", File.join(@home, "error.log"), "-c", @config]

    def configuration(here, there)
      server = Proxy.configuration("nginx", "443 ssl" => "#{here} ssl", "/etc/ssl/site.pem" => @certificate, "127.0.0.1:3000" => there)
      <<~CONF
        daemon off;
        master_process off;
        pid #{@home}/nginx.pid;
        error_log #{@home}/error.log warn;
        events { worker_connections 256; }
        http {
          access_log off;
          #{%w[client_body proxy fastcgi uwsgi scgi].map { |kind| "#{kind}_temp_path #{@home}/#{kind};" }.join("\n  ")}
          #{server}
        }
      CONF
    end
  end

  class HaproxyProxy < Proxy
    PROGRAM = "/usr/sbin/haproxy"

    private

    def arguments = ["-db", "-q", "-f", @config]

    def configuration(here, there)
      <<~CONF
        global
          maxconn 256
          # so that nothing is derived from the machine's limits
          ulimit-n 2048
        #{Proxy.configuration("haproxy", ":443 ssl" => "#{here} ssl", "/etc/ssl/site.pem" => @certificate, "127.0.0.1:3000" => there)}
      CONF
    end
  end
end
