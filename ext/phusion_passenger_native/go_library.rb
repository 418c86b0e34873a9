# frozen_string_literal: true

require "shellwords"
require_relative "build_requirements"

# Builds the Go library, libpassenger.so. It lies next to the C extension, which loads it when the engine is started.
module GoLibrary
  NAME = "libpassenger.so"
  PACKAGE = "./go/libpassenger"
  ROOT = BuildRequirements::ROOT

  class << self
    # The environment and the arguments that build the library into the file `output` (run them in ROOT).
    def command(go, output)
      environment = { "CGO_ENABLED" => "1", "GOTOOLCHAIN" => "local" }
      # Go refuses to work without a home directory for its caches; some service managers set none.
      environment["HOME"] = Dir.home if ENV["HOME"].to_s.empty?
      # -buildvcs=false: an installed gem may lie inside somebody's git checkout that Go may not or can not read.
      [environment, [go, "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-o", output, PACKAGE]]
    end

    # What the library is made from, relative to ROOT.
    def sources
      Dir.glob(["go.mod", "go.sum", "go/**/*"], base: ROOT).sort.select do |path|
        File.file?(File.join(ROOT, path)) && !path.end_with?("_test.go") && !path.include?("/testdata/")
      end
    end

    # For extconf.rb: makes the Makefile that mkmf has written build and install the library together with the extension,
    # unless extconf.rb was called with --disable-go-library.
    def add_to_makefile(makefile = "Makefile")
      return unless enable_config("go-library", true)

      go = BuildRequirements.or_abort("passenger") { BuildRequirements.check_go }
      File.open(makefile, "a") { |file| file.write(rules(go, File.join(Dir.pwd, NAME))) }
    end

    private

    def rules(go, output)
      environment, arguments = command(go, output)
      settings = environment.map { |name, value| "#{name}=#{value.shellescape}" }.join(" ")
      build = "cd #{ROOT.shellescape} && env #{settings} #{arguments.shelljoin}".gsub("$", "$$")
      prerequisites = sources.map { |path| File.join(ROOT, path).gsub(/[ #%:\\]/) { |char| "\\#{char}" }.gsub("$", "$$") }
      <<~MAKE

        all: #{NAME}
        #{NAME}: #{prerequisites.join(" \\\n  ")}
        \t$(ECHO) building $(@)
        \t$(Q) #{build}
        install-so: install-go-library
        install-go-library: #{NAME}
        \t$(Q) $(MAKEDIRS) $(RUBYARCHDIR)
        \t$(INSTALL_PROG) #{NAME} $(RUBYARCHDIR)
        clean-so::
        \t-$(Q)$(RM) #{NAME} libpassenger.h
        .PHONY: install-go-library
      MAKE
    end
  end
end
