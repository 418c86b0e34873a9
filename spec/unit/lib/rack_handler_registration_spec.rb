# frozen_string_literal: true

require "open3"
require "rbconfig"
require "tmpdir"
require_relative "outside_bundle"

# Each example looks at a fresh Ruby process, as registration is about what is loaded in which order. They hold for Rack 2
# and for Rack 3; the examples about the Rack that this machine does not have are left out.
RSpec.describe "The Rack handler" do
  rack = Gem::Specification.stubs_for("rack").map(&:version).max
  rack3 = rack >= Gem::Version.new("3")
  registry = rack3 ? "Rackup::Handler" : "Rack::Handler"
  library = rack3 ? "rackup" : "rack"

  lib = File.expand_path("../../../lib", __dir__)
  handler = File.join(lib, "phusion_passenger/rack_handler")

  # Prints what the expression gives, in a process without a bundle. The gem's lib is on the load path, as RubyGems and
  # Bundler put it there.
  def ruby(code, env: {})
    unset = OUTSIDE_BUNDLE.merge("RACK_HANDLER" => nil, "RACKUP_HANDLER" => nil)
    out, err, status = Open3.capture3(unset.merge(env), RbConfig.ruby, "-W0", "-I", File.expand_path("../../../lib", __dir__),
                                      "-e", code)
    raise "#{code}\n#{err}" unless status.success?

    out.chomp
  end

  ours = "PhusionPassenger::RackHandler"

  context "with #{registry}" do
    it "is found by name and is the default when the registry is loaded first" do
      expect(ruby(<<~RUBY)).to eq("true true")
        require "#{library}"; #{registry}
        require "#{handler}"
        print #{registry}.get("passenger").equal?(#{ours}), " ", #{registry}.default.equal?(#{ours})
      RUBY
    end

    # Ruby 3.1 does not tell when a constant is added.
    it "is found by name and is the default when the registry is loaded afterwards", if: !rack3 || RUBY_VERSION >= "3.2" do
      expect(ruby(<<~RUBY)).to eq("true true")
        #{'gem "rack"' unless rack3}
        require "#{handler}"
        require "#{library}"
        print #{registry}.default.equal?(#{ours}), " ", #{registry}.get("passenger").equal?(#{ours})
      RUBY
    end

    it "is found by name when nobody has loaded the gem" do
      expect(ruby("require '#{library}'; print #{registry}.get('passenger').equal?(#{ours})")).to eq("true")
    end

    it "can be called by the constant that the original defines" do
      expect(ruby("require '#{library}'; #{registry}; require '#{handler}'; print #{registry}::PhusionPassenger")).to eq("Passenger application server")
    end

    it "leaves the choice to the environment where it is made there" do
      expect(ruby(<<~RUBY, env: { "RACK_HANDLER" => "other" })).to eq("true")
        require "#{library}"
        require "#{handler}"
        module Other; end
        #{registry}.register("other", #{rack3 ? 'Other' : '"Other"'})
        print #{registry}.default.equal?(Other)
      RUBY
    end

    it "leaves other servers available by name, and is the default beside them" do
      expect(ruby(<<~RUBY)).to eq("true true")
        require "#{library}"
        module Other; end
        #{registry}.register("puma", #{rack3 ? 'Other' : '"Other"'})
        require "#{handler}"
        print #{registry}.get("puma").equal?(Other), " ", #{registry}.default.equal?(#{ours})
      RUBY
    end

    it "may be loaded twice, under two paths" do
      Dir.mktmpdir do |directory|
        File.symlink(lib, "#{directory}/lib")
        expect(ruby(<<~RUBY)).to eq("true")
          require "#{library}"
          require "#{handler}"
          require "#{directory}/lib/phusion_passenger/rack_handler"
          print #{registry}.default.equal?(#{ours})
        RUBY
      end
    end
  end

  it "does not bring rackup into a process with Rack 2", unless: rack3 do
    expect(ruby("gem 'rack'; require '#{handler}'; Rack::Handler.default; print defined?(Rackup).inspect")).to eq("nil")
  end

  it "does not bring rackup into a process that does not use it", if: rack3 do
    expect(ruby("gem 'rack'; require '#{handler}'; require 'rack'; print defined?(Rackup).inspect")).to eq("nil")
  end

  it "says what it is called, what options it takes and which environment it is in" do
    expect(ruby("require '#{handler}'; print #{ours}")).to eq("Passenger application server")
    expect(ruby("require '#{handler}'; print #{ours}.valid_options['max_pool_size=NUMBER']")).to match(/worker processes \(default: 6\)/)
    expect(ruby("require '#{handler}'; print #{ours}.environment", env: { "RAILS_ENV" => "test" })).to eq("test")
    expect(ruby("require '#{handler}'; print #{ours}.environment", env: { "RAILS_ENV" => nil, "RACK_ENV" => "test" })).to eq("development")
  end

  describe "in a process that serves nothing (rake, a console)" do
    it "loads no native code, no library and no thread" do
      expect(ruby(<<~RUBY)).to eq("[] [] 1")
        gem "rack"
        before = $LOADED_FEATURES.dup
        require "#{handler}"
        loaded = $LOADED_FEATURES - before
        foreign = loaded.reject { |path| path.start_with?("#{lib}/") || path.end_with?("/rack/handler.rb", "/rackup/handler.rb") }
        print loaded.grep(/\\.so\\z/), " ", foreign, " ", Thread.list.size
      RUBY
    end

    it "is loaded in less than 5 milliseconds" do
      times = Array.new(5) do
        ruby(<<~RUBY).to_f
          gem "rack"
          before = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)
          require "#{handler}"
          print Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID) - before
        RUBY
      end
      expect(times.min).to be < 0.005
    end
  end
end
