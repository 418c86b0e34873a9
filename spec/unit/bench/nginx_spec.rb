# frozen_string_literal: true

require_relative "../../../bench/bench"

RSpec.describe Bench::Servers::Nginx do
  let(:site) { Struct.new(:public_dir).new("/run/site/public") }
  let(:launch) { Bench::Launch.new(app: site, processes: 3, host: "127.0.0.1", port: 4000, dir: "/run/2") }
  let(:configuration) { described_class.configuration(launch) }
  # The value of every directive that stands alone on its line.
  let(:directives) { configuration.scan(/^\s*(\w+) ([^{};\n]+);$/).to_h }

  it "stays in the foreground, with as many workers as the others have processes" do
    expect(directives).to include("daemon" => "off", "worker_processes" => "3", "root" => "/run/site/public")
    expect(directives.fetch("listen")).to start_with "127.0.0.1:4000 "
  end

  it "is set up for nothing but speed" do
    expect(directives).to include("sendfile" => "on", "tcp_nopush" => "on", "access_log" => "off", "gzip_static" => "on",
                                  "open_file_cache" => "max=10000 inactive=60s", "open_file_cache_valid" => "60s")
    expect(directives.fetch("keepalive_requests").to_i).to be > 1_000_000
  end

  it "writes nothing outside its directory" do
    written = directives.select { |name, _| name == "pid" || name.end_with?("_temp_path") }

    expect(written.size).to eq 6
    expect(written.values).to all start_with("/run/2/")
    expect(described_class.command(launch)).to eq %w[/usr/sbin/nginx -p /run/2/ -e stderr -c /run/2/nginx.conf]
  end

  it "knows the digested stylesheet for an asset, and nothing that has no digest" do
    rule = Regexp.new(configuration[/location ~ "(.*)" \{/, 1])

    expect("/#{Bench::Static::Site::STYLESHEET}").to match rule
    expect("/assets/application.css").not_to match rule
  end

  it "names its user only where it is started by root" do
    allow(Process).to receive(:uid).and_return(0)
    expect(described_class.user_line).to match(/\Auser \w\S* \w\S*;\n\z/)
    allow(Process).to receive(:uid).and_return(1000)
    expect(described_class.user_line).to eq ""
  end

  it "tells its processes apart" do
    titles = { "nginx: master process /usr/sbin/nginx -p /run/2/" => :server, "/usr/sbin/nginx -p /run/2/" => :server,
               "nginx: worker process" => :worker, "nginx: worker process is shutting down" => :worker, "vim nginx.conf" => nil }

    expect(titles.keys.to_h { |title| [title, described_class.role(title)] }).to eq titles
  end
end
