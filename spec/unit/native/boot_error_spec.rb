# frozen_string_literal: true

require_relative "driver"

RSpec.describe PhusionPassenger::BootError do
  around { |example| Dir.mktmpdir { |dir| @root = File.realpath(dir) and example.run } }

  # What happens when the file is loaded
  def report(code, file: "config.ru")
    path = File.join(@root, file)
    File.write(path, code)
    TOPLEVEL_BINDING.eval(code, path)
    raise "the code raises nothing"
  rescue Exception => e # rubocop:disable Lint/RescueException
    described_class.new(e, @root)
  end

  it "names the error, the place and the source around it" do
    fields = report("a = 1\nb = 2\nraise ArgumentError, 'no luck'\nc = 3\n").fields
    expect(fields).to include("class" => "ArgumentError", "message" => "no luck", "file" => "#{@root}/config.ru", "line" => "3")
    expect(fields["excerpt"]).to eq("1: a = 1\n2: b = 2\n3: raise ArgumentError, 'no luck'\n4: c = 3")
    expect(fields["backtrace"]).to start_with("#{@root}/config.ru:3")
    expect(fields["id"]).to match(/\A\h{8}\z/)
  end

  it "finds a syntax error in the file that has it" do
    path = File.join(@root, "model.rb")
    File.write(path, "class Model\n  def broken(\nend\n")
    fields = report("load #{path.inspect}").fields
    expect(fields).to include("class" => "SyntaxError", "file" => path)
    expect(fields["line"].to_i).to be_between(2, 4)
  end

  it "prefers the application's own code to that of libraries" do
    fields = report("# first\nrequire 'json'\nJSON.parse('{')\n").fields
    expect(fields).to include("file" => "#{@root}/config.ru", "line" => "3")
  end

  it "says that the application wants to exit" do
    expect(report("exit 4").fields).to include("class" => "SystemExit", "message" => /exit \(status 4\)/)
  end

  it "tells the causes" do
    fields = report("begin; raise 'inner'; rescue => e; raise ArgumentError, 'outer'; end").fields
    expect(fields["message"]).to eq("outer\n\nCaused by RuntimeError: inner")
  end

  it "fits into a control message, whatever the error says" do
    error = RuntimeError.new("\0\xFF".b * 100_000)
    error.set_backtrace(["x" * 200] * 1000)
    fields = described_class.new(error, @root).fields
    left, right = PhusionPassenger::Native.socketpair(:seqpacket)
    PhusionPassenger::Control.new(left).post("boot_error", fields)
    received = PhusionPassenger::Control.new(right).receive
    expect(received.fields["message"]).to be_valid_encoding
    expect(received.fields.keys).to eq(%w[id class message backtrace file line excerpt])
  ensure
    [left, right].each { |fd| PhusionPassenger::Native.close_fd(fd) }
  end

  it "shows no secrets" do
    fields = report("PASSWORD = 'sesame123'\nraise 'postgres://joe:sesame123@db/prod is down'").fields
    expect(fields.values.join).not_to include("sesame123")
    expect(fields["message"]).to eq("postgres://[redacted]@db/prod is down")
  end
end

RSpec.describe PhusionPassenger::Redaction do
  def clean(text, environment = {}) = described_class.clean(text, environment)

  {
    "password: \"hunter2x\"" => "password: [redacted]",
    "db_password = 'a b c'" => "db_password = [redacted]",
    "\"secret_key_base\" => \"abc\"," => "\"secret_key_base\" => [redacted],",
    "config[\"api_key\"] = \"abc\"" => "config[\"api_key\"] = [redacted]",
    "AWS_SECRET_ACCESS_KEY=abc/def" => "AWS_SECRET_ACCESS_KEY=[redacted]",
    "https://joe:pw@example.com/x" => "https://[redacted]@example.com/x",
    "redis://:pw@localhost:6379" => "redis://[redacted]@localhost:6379",
    "Authorization: Bearer abcdefghijkl" => "Authorization: [redacted] [redacted]",
    "id AKIAIOSFODNN7EXAMPLE here" => "id [redacted] here",
    "ghp_abcdefghijklmnopqrstuvwxyz" => "[redacted]",
    "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----" => "[redacted]",
    "master key #{"0123456789abcdef" * 4}" => "master key [redacted]"
  }.each do |text, expected|
    it "turns #{text.inspect[0, 60]} into #{expected.inspect[0, 60]}" do
      expect(clean(text)).to eq(expected)
    end
  end

  it "leaves other texts alone" do
    text = "undefined method `authorize' for nil at /srv/app/lib/key_store.rb:12 (https://example.com/a@b)\nkeyboard = 'x'\nmonkey: 1"
    expect(clean(text)).to eq(text)
  end

  it "hides what the environment calls a secret, wherever it appears" do
    environment = { "SECRET_KEY_BASE" => "correcthorse", "DATABASE_URL" => "postgres://u:p@h/d", "HOME" => "/home/me",
                    "SSH_AUTH_SOCK" => "/run/agent.sock", "APP_URL" => "https://example.com" }
    expect(clean("a correcthorse at /home/me via postgres://u:p@h/d, /run/agent.sock and https://example.com", environment))
      .to eq("a [redacted] at /home/me via [redacted], /run/agent.sock and https://example.com")
  end
end
