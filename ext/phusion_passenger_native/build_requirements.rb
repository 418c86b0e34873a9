# frozen_string_literal: true

require "open3"
require "rbconfig"

# Looks for what building the gem needs before anything is built, because the tools' own complaints (mkmf's, the
# compiler's, Go's) don't say which package to install.
module BuildRequirements
  # The message is one sentence that says what to install.
  class Missing < StandardError; end

  ROOT = File.expand_path("../..", __dir__)

  # How to install things, by the ID or ID_LIKE words of /etc/os-release. The last row is for every other system.
  PACKAGES = [
    { systems: %w[debian ubuntu], headers: "apt-get install ruby-dev", compiler: "apt-get install gcc libc6-dev",
      make: "apt-get install make", go: "apt-get install golang-go, if that is new enough" },
    { systems: %w[fedora rhel centos], headers: "dnf install ruby-devel", compiler: "dnf install gcc glibc-devel",
      make: "dnf install make", go: "dnf install golang, if that is new enough" },
    { systems: %w[alpine], headers: "apk add ruby-dev", compiler: "apk add gcc musl-dev", make: "apk add make",
      go: "apk add go, if that is new enough" },
    { systems: %w[arch], headers: "pacman -S ruby", compiler: "pacman -S gcc", make: "pacman -S make",
      go: "pacman -S go" },
    { systems: %w[suse opensuse], headers: "zypper install ruby-devel", compiler: "zypper install gcc glibc-devel",
      make: "zypper install make", go: "zypper install go, if that is new enough" },
    { systems: %w[darwin], headers: "brew install ruby", compiler: "xcode-select --install",
      make: "xcode-select --install", go: "brew install go" },
    { systems: [], headers: "your system's package ruby-dev or ruby-devel",
      compiler: "your system's packages gcc and libc6-dev or glibc-devel", make: "your system's package make",
      go: "your system's package golang or go, if that is new enough" }
  ].freeze

  class << self
    # Runs the block; if something is missing, ends the program with that sentence and exit code 1.
    def or_abort(program)
      yield
    rescue Missing => e
      abort "#{program}: #{e.message}"
    end

    # Raises Missing unless the C extension can be built here.
    def check_c
      check_headers
      check_compiler
      find(make) or missing("make, and #{make.inspect} is not in PATH", :make)
    end

    # Returns the path of a `go` that is new enough, or raises Missing.
    def check_go
      go = find("go") or missing("#{wanted_go}, and `go` is not in PATH#{unused_go}", :go)
      version = go_version(go)
      return go if version >= minimum_go

      missing("#{wanted_go}, and #{go} is Go #{version}", :go)
    end

    # The version in go.mod is the only place that says which Go is needed.
    def minimum_go
      line = File.foreach(File.join(ROOT, "go.mod")).find { |text| text.start_with?("go ") }
      Gem::Version.new(line.split[1])
    end

    def find(command)
      return command if command.include?("/") && File.executable?(command)

      ENV.fetch("PATH", "").split(File::PATH_SEPARATOR).map { |dir| File.join(dir, command) }
         .find { |path| File.file?(path) && File.executable?(path) }
    end

    def make = ENV["MAKE"] || ENV["make"] || "make"

    private

    def check_headers
      header = File.join(RbConfig::CONFIG["rubyhdrdir"].to_s, "ruby.h")
      return if File.file?(header)

      missing("Ruby's C header files, and there is no #{header}", :headers)
    end

    # Compiles a small program: a compiler without the C library's headers is as common as no compiler.
    def check_compiler
      command = (ENV["CC"] || RbConfig::CONFIG["CC"]).split
      find(command.first) or missing("a C compiler, and #{command.first.inspect} is not in PATH", :compiler)
      _, status = Open3.capture2e(*command, "-fsyntax-only", "-x", "c", "-", stdin_data: "#include <stdlib.h>\n")
      return if status.success?

      missing("a C compiler with the C library's headers, and #{command.first} can't compile #include <stdlib.h>", :compiler)
    end

    # GOTOOLCHAIN=local: Go must not download another Go. Asked outside the module, where Go would refuse to answer if
    # it is too old for go.mod.
    def go_version(go)
      output, status = Open3.capture2e({ "GOTOOLCHAIN" => "local" }, go, "env", "GOVERSION", chdir: "/")
      number = output[/\bgo(\d+(\.\d+)*)/, 1]
      return Gem::Version.new(number) if status.success? && number

      missing("#{wanted_go}, and `#{go} env GOVERSION` answers #{output.strip.lines.first.to_s.strip.inspect}", :go)
    end

    def wanted_go = "Go #{minimum_go.segments.first(2).join('.')} or newer"

    # Go's own installation instructions put it there and leave PATH to the reader.
    def unused_go
      File.executable?("/usr/local/go/bin/go") ? " (there is one in /usr/local/go/bin: add that directory to PATH)" : ""
    end

    def missing(what, kind)
      remedy = packages.fetch(kind)
      from = kind == :go ? "from https://go.dev/dl/ (or with #{remedy})" : "with #{remedy}"
      raise Missing, "building passenger needs #{what}; install it #{from}"
    end

    def packages
      ids = RbConfig::CONFIG["host_os"].start_with?("darwin") ? ["darwin"] : release_ids
      PACKAGES.find { |row| row[:systems].intersect?(ids) } || PACKAGES.last
    end

    def release_ids
      return [] unless File.readable?("/etc/os-release")

      File.foreach("/etc/os-release").grep(/\A(ID|ID_LIKE)=/).flat_map { |line| line.split("=", 2).last.delete(%("\n)).split }
    end
  end
end
