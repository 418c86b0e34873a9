# frozen_string_literal: true

require_relative "stand_in_engine"

# Rack::Sendfile turns a body that names a file into a response header, if it believes that the server wants that.
RSpec.describe "Files that an application sends through Rack::Sendfile" do
  around do |example|
    Dir.mktmpdir do |dir|
      @dir = File.realpath(dir)
      example.run
    end
  end

  after { @engine&.finish }

  # The type of the frame with which the worker answers, the header block as Hash, and the rest of the payload.
  def answer(config, request = {})
    @engine = StandInEngine.new(@dir, { "config.ru" => config, "report.txt" => "the report" }).start
    verb, fields = @engine.heard
    raise "#{verb} #{fields}\n#{@engine.output}" unless verb == "loaded"

    @engine.worker
    @engine.request("/", request)
    type, payload = @engine.frame
    [type, *headers_and_rest(payload)]
  end

  def sendfile(arguments = "")
    <<~RUBY
      class NamedFile
        def each = yield(File.read(to_path))
        def to_path = #{"#{@dir}/report.txt".inspect}
        def close = File.write(#{"#{@dir}/closed".inspect}, "")
      end
      run Rack::Sendfile.new(->(_env) { [200, { "content-type" => "text/plain" }, NamedFile.new] }#{arguments})
    RUBY
  end

  def headers_and_rest(payload)
    block = payload.byteslice(4, payload.unpack1("V"))
    pairs = {}
    until block.empty?
      name, value = block.unpack("vV")
      pairs[block.byteslice(6, name).downcase] = block.byteslice(6 + name, value)
      block = block.byteslice((6 + name + value)..)
    end
    [pairs, payload.byteslice((4 + payload.unpack1("V"))..)]
  end

  it "reach the engine as open files, with no header that names them" do
    type, headers, rest = answer(sendfile)
    expect([type, headers.keys, rest]).to eq([:file, %w[content-type], "#{@dir}/report.txt"])
    expect(@engine.output).to eq("")
  end

  it "reach the engine as open files, whatever headers the request has" do
    type, headers, = answer(sendfile, { "HTTP_X_ACCEL_MAPPING" => "#{@dir}/=/files/" })
    expect([type, headers.keys]).to eq([:file, %w[content-type]])
  end

  it "are named in a header when the application is configured to do that" do
    type, headers, rest = answer(sendfile(', "X-Sendfile"'))
    expect([type, rest]).to eq([:complete, ""])
    expect(headers).to include("x-sendfile" => "#{@dir}/report.txt", "content-length" => "0")
    # The body is closed after the response has been sent.
    Timeout.timeout(StandInEngine::PATIENCE) { sleep(0.005) until File.exist?("#{@dir}/closed") }
  end

  it "are named by the application's mapping for X-Accel-Redirect" do
    type, headers, = answer(sendfile(", 'X-Accel-Redirect', [[#{"#{@dir}/".inspect}, '/files/']]"))
    expect([type, headers["x-accel-redirect"]]).to eq([:complete, "/files/report.txt"])
  end

  it "are sent where the application can find out that X-Sendfile is understood" do
    config = 'run ->(env) { [200, {}, [env.values_at("HTTP_X_SENDFILE_TYPE", "sendfile.type").inspect]] }'
    expect(answer(config).last).to eq('["X-Sendfile", ""]')
  end
end
