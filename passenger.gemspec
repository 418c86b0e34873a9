# frozen_string_literal: true

require_relative "lib/phusion_passenger/version"

Gem::Specification.new do |spec|
  spec.name = "passenger"
  spec.version = PhusionPassenger::VERSION
  spec.authors = ["The passenger gem's developers"]
  spec.license = "MIT"
  spec.summary = "Application server for Ruby on Rails and Rack, with a core written in Go"
  spec.description = <<~TEXT.tr("\n", " ").strip
    Serves Ruby on Rails and any Rack application. A Go library inside the server process speaks HTTP, serves static files
    and manages the pool of worker processes; `rails server` and `rackup` use it through a Rack handler, `passenger start`
    runs it on its own. An independent implementation of the documented behaviour of Phusion Passenger Standalone.
  TEXT
  spec.required_ruby_version = ">= 3.1"

  # The list is made without git, so that the gem can be built from an unpacked source archive.
  Dir.chdir(__dir__) do
    sources = Dir["go/**/*"].reject { |path| path.end_with?("_test.go") || path.include?("/testdata/") }
    spec.files = [
      "go.mod", "go.sum", *sources,
      *Dir["ext/**/*.{rb,c,h}"], *Dir["lib/**/*.rb"], *Dir["phusion_passenger/**/*"], *Dir["exe/*"],
      *Dir["{README,CHANGELOG}.md"], *Dir["LICENSE"], "passenger.gemspec"
    ].select { |path| File.file?(path) }.sort
  end

  spec.bindir = "exe"
  spec.executables = spec.files.grep(%r{\Aexe/}) { |path| File.basename(path) }
  spec.require_paths = ["lib"]
  spec.extensions = ["ext/phusion_passenger_native/extconf.rb"]

  spec.add_dependency "rack", ">= 2.2", "< 4"

  spec.metadata = { "rubygems_mfa_required" => "true" }
end
