# frozen_string_literal: true

require "pathname"
require_relative "stand_in_engine"
require_relative "../../../phusion_passenger/app_facts"

# What the preloader says about an application.
RSpec.describe "The facts of an application" do
  around do |example|
    Dir.mktmpdir do |dir|
      @dir = File.realpath(dir)
      example.run
    end
  end

  describe "as the preloader reports them" do
    after { @engine&.finish }

    def loaded(config, **options)
      @engine = StandInEngine.new(@dir, { "config.ru" => config }, **options).start
      verb, fields = @engine.heard
      raise "#{verb} #{fields}\n#{@engine.output}" unless verb == "loaded"

      expect(fields.delete("pid")).to eq(@engine.pid.to_s)
      fields
    end

    # A whole Rails application in one file. settings: lines of its class; afterwards: after it has been initialized
    def rails(settings: "", afterwards: "", page_caching: true)
      <<~RUBY
        require "action_controller/railtie"
        #{'require "actionpack/page_caching"' if page_caching}
        class Tiny < Rails::Application
          config.root = #{@dir.inspect}
          config.load_defaults 6.1
          config.eager_load = true
          config.secret_key_base = "x" * 64
          config.logger = Logger.new(File::NULL)
          #{settings}
        end
        Rails.application.initialize!
        #{afterwards}
        run Rails.application
      RUBY
    end

    it "are only the directory, of an application that is not Rails" do
      expect(loaded("module Rails; end\nrun ->(_env) { [200, {}, []] }")).to eq("root" => @dir)
    end

    it "name the directory without symlinks" do
      File.symlink(@dir, link = "#{@dir}.link")
      @engine = StandInEngine.new(link, { "config.ru" => "run ->(_env) { [200, {}, []] }" }).start
      expect(@engine.heard.last).to include("root" => @dir)
    ensure
      File.delete(link)
    end

    it "are those of Rails, with page caching as it comes" do
      expect(loaded(rails)).to eq("root" => @dir, "public_path" => "#{@dir}/public", "page_cache_dirs" => "#{@dir}/public",
                                  "relative_url_root" => "")
    end

    it "name no directory of cached pages without page caching" do
      expect(loaded(rails(page_caching: false)).keys).to contain_exactly("root", "public_path", "relative_url_root")
    end

    it "follow the application's configuration" do
      facts = loaded(rails(settings: <<~SETTINGS))
        config.paths["public"] = "htdocs"
        config.action_controller.page_cache_directory = Rails.root.join("cache/pages")
        config.assets = ActiveSupport::OrderedOptions.new.update(prefix: "/digested/")
        config.relative_url_root = "/blog/"
      SETTINGS
      expect(facts).to eq("root" => @dir, "public_path" => "#{@dir}/htdocs", "page_cache_dirs" => "#{@dir}/cache/pages",
                          "assets_prefix" => "/digested", "relative_url_root" => "/blog")
    end

    it "have the relative URL root of the environment" do
      expect(loaded(rails, variables: { "RAILS_RELATIVE_URL_ROOT" => "/shop" })).to include("relative_url_root" => "/shop")
    end

    it "have the directory of each controller, of those that are computed without a request too" do
      facts = loaded(rails(afterwards: <<~CONTROLLERS))
        class FirstController < ActionController::Base; self.page_cache_directory = "relative/pages"; end
        class SecondController < FirstController; end
        class ThirdController < ActionController::Base; self.page_cache_directory = -> { Rails.root.join("by_proc") }; end
        class FourthController < ActionController::Base
          self.page_cache_directory = :cache_place
          private
          def cache_place = "/srv/\#{self.class.name}"
        end
      CONTROLLERS
      expect(facts["page_cache_dirs"].split("\n"))
        .to contain_exactly("#{@dir}/public", "#{@dir}/relative/pages", "#{@dir}/by_proc", "/srv/FourthController")
      expect(@engine.output).to eq("")
    end

    it "leave out directories that depend on the request, and say so once" do
      facts = loaded(rails(afterwards: <<~CONTROLLERS))
        class HostController < ActionController::Base
          self.page_cache_directory = -> { (request.host rescue "fallback") }
        end
        class BelowController < HostController; end
        class CallableController < ActionController::Base
          self.page_cache_directory = Class.new { def call(request) = request.host }.new
        end
      CONTROLLERS
      expect(facts["page_cache_dirs"]).to eq("#{@dir}/public")
      expect(@engine.written(/CallableController.*\n/).lines).to contain_exactly(
        match(/page cache directory of HostController \(and 1 more\) is not known .*depends on the request.*page_cache_dir/),
        match(/page cache directory of CallableController is not known .*depends on the request/)
      )
    end

    it "are the same when the application was loaded before the fork" do
      @engine = StandInEngine.new(@dir, { "config.ru" => "raise 'must not be loaded again'" })
      script = <<~RUBY
        #{rails(settings: 'config.action_controller.page_cache_directory = "pages"').lines[..-2].join}
        require #{File.join(StandInEngine::ROOT, "phusion_passenger/preloader.rb").inspect}
        Dir.chdir(#{@dir.inspect})
        Process.wait(fork { PhusionPassenger::Preloader.run_with_app(Rails.application, 3) })
      RUBY
      @engine.start do |peer|
        Process.spawn(OUTSIDE_BUNDLE, RbConfig.ruby, "-e", script, 3 => peer, out: [@engine.log.path, "a"], err: [@engine.log.path, "a"])
      end
      expect(@engine.heard).to match(["loaded", include("root" => @dir, "page_cache_dirs" => "#{@dir}/pages")]), -> { @engine.output }
    end
  end

  # Stand-ins for Rails, to be odd in ways that a real one is only with effort.
  describe "of an odd application" do
    let(:lines) { [] }
    let(:action_controller) { Struct.new(:page_cache_directory, :relative_url_root).new }
    let(:assets) { Struct.new(:prefix).new("/assets") }
    let(:config) { Struct.new(:action_controller, :assets, :relative_url_root).new(action_controller, assets) }
    let(:base) do
      Class.new do
        class << self
          attr_accessor :page_cache_directory

          def descendants = @descendants ||= []
        end
      end
    end

    before do
      stub_const("Rails", double(application: double(config: config), root: Pathname.new(@dir), public_path: Pathname.new("#{@dir}/public")))
      stub_const("ActionController", Module.new)
      stub_const("ActionController::Base", base)
      allow(PhusionPassenger::Log).to receive(:write) { |line| lines << line }
    end

    def facts = PhusionPassenger::AppFacts.new.fields

    def controller(directory, name = "SomeController", &body)
      Class.new(base, &body).tap do |made|
        made.define_singleton_method(:to_s) { name }
        made.page_cache_directory = directory
        base.descendants << made
      end
    end

    it "lack only what raises, and the log says what that was" do
      allow(Rails).to receive(:public_path).and_raise("no public")
      allow(assets).to receive(:prefix).and_raise(NotImplementedError, "later")
      expect(facts).to include("root" => String, "relative_url_root" => "").and(satisfy { |it| it.size == 2 })
      expect(lines).to contain_exactly("the application's public_path could not be read: RuntimeError: no public",
                                       "the application's assets_prefix could not be read: NotImplementedError: later")
    end

    it "lack what recurses without end" do
      allow(Rails).to receive(:public_path) { raise SystemStackError, "stack level too deep" }
      expect(facts).not_to include("public_path")
    end

    {
      "assets" => "/assets", "/assets/" => "/assets", "/" => "/", Pathname.new("/x/y") => "/x/y"
    }.each do |prefix, expected|
      it("have the assets of #{prefix.inspect} at #{expected}") do
        assets.prefix = prefix
        expect(facts["assets_prefix"]).to eq(expected)
      end
    end

    it "take the relative URL root of Action Controller when there is no other, and a slash for none" do
      config.relative_url_root = "/"
      expect(facts["relative_url_root"]).to eq("")
      action_controller.relative_url_root = "blog/"
      expect(facts["relative_url_root"]).to eq("/blog")
    end

    it "have no directory of pages where nobody says one" do
      base.page_cache_directory = ""
      controller(nil)
      controller(false)
      expect(facts).not_to include("page_cache_dirs")
      expect(lines).to eq([])
    end

    it "have what some controllers compute when others can't, which lack a method of the application's own" do
      shared = -> { tenant_directory }
      base.page_cache_directory = shared
      controller(shared, "OwnController") { def tenant_directory = "tenants" }
      expect(facts["page_cache_dirs"]).to eq("#{@dir}/tenants")
      expect(lines).to eq([])
    end

    {
      "a number" => [-> { 7 }, /TypeError: it gives 7 instead of a path/],
      "nothing" => [-> {}, /TypeError: it gives nil/],
      "an exception" => [-> { raise "not now" }, /RuntimeError: not now/],
      "a missing method" => [:nowhere, /NoMethodError: .*nowhere/],
      "the request, which it then does without" => [-> { params[:x] rescue "any" }, /depends on the request/]
    }.each do |sentence, (directory, reason)|
      it "lack a directory whose computation gives #{sentence}, and the log says whose and why" do
        controller(directory)
        controller("fine")
        expect(facts["page_cache_dirs"]).to eq("#{@dir}/fine")
        expect(lines).to contain_exactly(match(/\Athe page cache directory of SomeController is not known to the server \(.*#{reason}/m))
      end
    end

    it "lack a directory whose controller can't be asked" do
      controller(nil).define_singleton_method(:page_cache_directory) { raise "not this one" }
      controller("fine")
      expect(facts["page_cache_dirs"]).to eq("#{@dir}/fine")
      expect(lines).to contain_exactly(/SomeController is not known.*not this one/)
    end

    it "have eight directories of pages at most" do
      10.times { |number| controller("d#{number}") }
      expect(facts["page_cache_dirs"].split("\n")).to eq(Array.new(8) { |number| "#{@dir}/d#{number}" })
      expect(lines).to eq(["the application has 10 page cache directories; the server looks into the first 8 and not into " \
                           "#{@dir}/d8, #{@dir}/d9"])
    end

    it "lack directories that can't be named in a message" do
      ["a\nb", "x" * 5000, "\xFF", "fine", "a\0b"].each { |name| controller(name) }
      expect(facts["page_cache_dirs"]).to eq("#{@dir}/fine")
      expect(lines.size).to eq(4)
      expect(lines).to all(match(/page cache directory/))
    end

    it "stay below the length of a message" do
      20.times { |number| controller("#{number}/#{'d' * 4000}") }
      expect(facts.sum { |key, value| key.bytesize + value.bytesize + 2 }).to be < 60 * 1024
    end
  end
end
