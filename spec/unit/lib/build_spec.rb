# frozen_string_literal: true

require "fileutils"
require "open3"
require "rbconfig"
require "tmpdir"
require_relative "outside_bundle"
require_relative "../../../ext/phusion_passenger_native/go_library"

RSpec.describe "Building" do
  root = File.expand_path("../../..", __dir__)

  # PATH as it is, but without a command: a directory that has it is replaced by one with links to everything else.
  def path_without(command, scratch)
    directories = ENV.fetch("PATH").split(File::PATH_SEPARATOR).uniq.select { |directory| File.directory?(directory) }
    directories.each_with_index.map do |directory, index|
      next directory unless File.exist?(File.join(directory, command))

      shadow = File.join(scratch, "path#{index}").tap { |path| Dir.mkdir(path) }
      Dir.children(directory).each { |name| File.symlink(File.join(directory, name), File.join(shadow, name)) unless name == command }
      shadow
    end.join(File::PATH_SEPARATOR)
  end

  def executable(path, text)
    File.write(path, "#!/bin/sh\n#{text}\n")
    File.chmod(0o755, path)
    path
  end

  # The sources alone, as after a fresh checkout.
  def checkout(directory)
    root = File.expand_path("../../..", __dir__)
    names = %w[Rakefile go.mod go.sum passenger.gemspec README.md CHANGELOG.md LICENSE ext exe go lib phusion_passenger]
    names.map { |name| File.join(root, name) }.select { |path| File.exist?(path) }.each { |path| FileUtils.cp_r(path, directory) }
    FileUtils.rm_f(Dir["#{directory}/lib/phusion_passenger/*.so"])
    directory
  end

  def run(*command, directory:, env: {})
    out, err, status = Open3.capture3(OUTSIDE_BUNDLE.merge(env), *command, chdir: directory)
    [status.exitstatus, out, err]
  end

  around { |example| Dir.mktmpdir { |directory| @scratch = directory and example.run } }

  describe "the requirements" do
    let(:requirements) { BuildRequirements }

    it "are met on the machine that runs the specs" do
      expect(File.basename(requirements.check_go)).to eq("go")
      expect { requirements.check_c }.not_to raise_error
    end

    it "take the needed version of Go from go.mod" do
      expect(requirements.minimum_go).to eq(Gem::Version.new(File.read("#{root}/go.mod")[/^go (\S+)/, 1]))
    end

    def message_with(env)
      before = env.keys.to_h { |name| [name, ENV.fetch(name, nil)] }
      ENV.update(env)
      yield
      nil
    rescue BuildRequirements::Missing => e
      e.message
    ensure
      ENV.update(before)
    end

    it "say what to install when Go is too old" do
      go = executable("#{@scratch}/go", 'echo go1.19.8')
      expect(message_with("PATH" => @scratch) { requirements.check_go })
        .to match(%r{\Abuilding passenger needs Go 1\.\d+ or newer, and #{go} is Go 1\.19\.8; install it from https://go\.dev/dl/ \(or with .+\)\z})
    end

    it "accept a newer Go, and release candidates' numbers" do
      go = executable("#{@scratch}/go", "echo go1.999rc1")
      expect(message_with("PATH" => @scratch) { expect(requirements.check_go).to eq(go) }).to be_nil
    end

    it "keep Go from downloading another Go" do
      executable("#{@scratch}/go", '[ "$GOTOOLCHAIN" = local ] && echo go1.999')
      expect(message_with("PATH" => @scratch) { requirements.check_go }).to be_nil
    end

    it "quote a `go` that answers something else" do
      executable("#{@scratch}/go", "echo 'a game'")
      expect(message_with("PATH" => @scratch) { requirements.check_go }).to match(/`.*go env GOVERSION` answers "a game"; install it from/)
    end

    it "say what to install when there is no compiler, or none that finds the C library's headers" do
      expect(message_with("CC" => "no-such-cc") { requirements.check_c })
        .to match(/\Abuilding passenger needs a C compiler, and "no-such-cc" is not in PATH; install it with \S+/)
      failing = executable("#{@scratch}/cc", "exit 1")
      expect(message_with("CC" => failing) { requirements.check_c })
        .to match(/needs a C compiler with the C library's headers, and .* can't compile #include <stdlib.h>; install it with \S+/)
    end

    it "say what to install when there is no make" do
      expect(message_with("MAKE" => "no-such-make") { requirements.check_c }).to match(/needs make, .*; install it with .*make/)
    end

    it "say what to install when Ruby's header files are missing" do
      stub_const("RbConfig::CONFIG", RbConfig::CONFIG.merge("rubyhdrdir" => "/nowhere"))
      expect(message_with({}) { requirements.check_c })
        .to match(%r{\Abuilding passenger needs Ruby's C header files, and there is no /nowhere/ruby\.h; install it with \S+})
    end

    it "know how to install everything on every system they know" do
      requirements::PACKAGES.each { |row| expect(row.keys).to eq(%i[systems headers compiler make go]) }
      expect(requirements::PACKAGES.last[:systems]).to be_empty
    end
  end

  describe "rake compile" do
    it "does nothing, in less than two seconds, when nothing has changed" do
      expect(run("rake", "compile", directory: root)[0]).to eq(0)
      began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      expect(run("rake", "compile", directory: root)).to eq([0, "", ""])
      expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - began).to be < 2
    end

    it "answers a missing Go with one sentence and exit code 1, before it builds anything" do
      checkout(@scratch)
      code, out, err = run("rake", "compile", directory: @scratch, env: { "PATH" => path_without("go", @scratch) })
      expect([code, out]).to eq([1, ""])
      expect(err).to match(/\Arake compile: building passenger needs Go .*`go` is not in PATH.*\n\z/)
    end

    it "answers missing header files with one sentence and exit code 1" do
      checkout(@scratch)
      without_headers = "#{@scratch}/without_headers.rb"
      File.write(without_headers, 'require "rbconfig"; RbConfig::CONFIG["rubyhdrdir"] = "/nowhere"')
      code, out, err = run(RbConfig.ruby, "-r", without_headers, "-S", "rake", "compile", directory: @scratch)
      expect([code, out]).to eq([1, ""])
      expect(err).to match(/\Arake compile: building passenger needs Ruby's C header files.*\n\z/)
    end
  end

  describe "extconf.rb" do
    it "answers a missing Go with one sentence and exit code 1" do
      extconf = "#{root}/ext/phusion_passenger_native/extconf.rb"
      Dir.mkdir("#{@scratch}/build")
      code, _, err = run(RbConfig.ruby, extconf, directory: "#{@scratch}/build", env: { "PATH" => path_without("go", @scratch) })
      expect(code).to eq(1)
      expect(err).to match(/\Apassenger: building passenger needs Go .*`go` is not in PATH.*\n\z/)
    end
  end

  describe "the gem" do
    let(:spec) { Gem::Specification.load("#{root}/passenger.gemspec") }

    it "is passenger 7.0.0, under the MIT licence, with rack as its only dependency" do
      expect([spec.name, spec.version.to_s, spec.licenses]).to eq(["passenger", "7.0.0", ["MIT"]])
      expect(spec.dependencies).to eq([Gem::Dependency.new("rack", ">= 2.2", "< 4")])
    end

    it "has its commands in exe and its library in lib" do
      expect([spec.bindir, spec.executables, spec.raw_require_paths, spec.extensions])
        .to eq(["exe", ["passenger"], ["lib"], ["ext/phusion_passenger_native/extconf.rb"]])
    end

    it "satisfies the line in the documentation's Gemfile" do
      expect(Gem::Requirement.new(">= 5.0.25")).to be_satisfied_by(spec.version)
      expect(spec.files).to include("lib/phusion_passenger/rack_handler.rb")
    end

    it "contains what is needed to build and run it, and neither tests nor what was built" do
      expect(spec.files).to eq(spec.files.sort.uniq)
      expect(spec.files).to include("go.mod", "go.sum", "go/libpassenger/main.go", "ext/phusion_passenger_native/native.c",
                                    "phusion_passenger/preloader.rb", "exe/passenger", "README.md", "CHANGELOG.md", "LICENSE")
      expect(spec.files.grep(%r{_test\.go\z|\.(so|o|h\.gch)\z|/testdata/|\Aspec/|\Aexamples/})).to be_empty
    end

    it "contains every file of the Go packages that it compiles" do
      embedded = Dir.glob("go/**/*", base: root).select { |path| File.file?("#{root}/#{path}") }.grep_v(%r{_test\.go\z|/testdata/})
      expect(spec.files).to include(*embedded)
    end

    it "installs into an empty GEM_HOME, without git, and its command serves an application", :slow do
      sources = checkout(Dir.mkdir("#{@scratch}/sources").then { "#{@scratch}/sources" })
      env = { "PATH" => path_without("git", @scratch), "GEM_HOME" => "#{@scratch}/gems" }
      expect(run("gem", "build", "passenger.gemspec", "--output", "#{@scratch}/it.gem", directory: sources, env: env)[0]).to eq(0)
      installed = run("gem", "install", "--local", "--no-document", "#{@scratch}/it.gem", directory: @scratch, env: env)
      expect(installed[0]).to eq(0), installed.join("\n")
      FileUtils.rm_rf(sources)

      command = "#{@scratch}/gems/bin/passenger"
      expect(run(command, "--version", directory: @scratch, env: env)).to eq([0, "Passenger 7.0.0\n", ""])
      expect(serve(command, env)).to eq("served by #{@scratch}/gems/gems/passenger-7.0.0")
    end

    # Serves an application on a Unix socket and returns the answer to one request.
    def serve(command, env)
      require "socket"
      app = "#{@scratch}/app"
      Dir.mkdir(app)
      File.write("#{app}/config.ru", <<~RUBY)
        library = $LOADED_FEATURES.grep(%r{/lib/phusion_passenger/native\\.so\\z}).first
        run ->(_env) { [200, { "content-type" => "text/plain" }, ["served by \#{library.sub(%r{/lib/.*}, '')}"]] }
      RUBY
      log = "#{@scratch}/log"
      pid = Process.spawn(OUTSIDE_BUNDLE.merge(env), command, "start", app, "--socket", "#{@scratch}/s",
                          chdir: @scratch, %i[out err] => log)
      deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 30
      until File.socket?("#{@scratch}/s")
        raise "no socket: #{File.read(log)}" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

        sleep(0.05)
      end
      answer = UNIXSocket.open("#{@scratch}/s") do |socket|
        socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        socket.read
      end
      Process.kill("TERM", pid)
      Process.wait(pid)
      raise "exit code #{$?.exitstatus}: #{File.read(log)}" unless $?.success?

      pid = nil
      answer.split("\r\n\r\n", 2).last
    ensure
      if pid
        Process.kill("KILL", pid)
        Process.wait(pid)
      end
    end
  end
end
