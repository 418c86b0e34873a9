# frozen_string_literal: true

require_relative "page_cache_directories"

module PhusionPassenger
  # What the engine needs to know about an application that has been loaded: docs/protocol.md, loaded. An application may
  # be odd in any way; a fact that can't be had is left out, with a line in the log.
  class AppFacts
    # Something that the engine can't be told. The message completes "the application's X ".
    class Unusable < StandardError; end

    # What an application's code may raise. SystemStackError is no StandardError.
    FAILURES = [StandardError, ScriptError, SystemStackError].freeze
    # Bytes of a path, as in Linux
    LONGEST_PATH = 4096
    # With paths of that length they fit into one control message.
    MOST_DIRECTORIES = 8

    # Hash with String keys and values
    def fields
      @fields = {}
      fact("root") { File.realpath(Dir.pwd) }
      rails_facts(::Rails.application) if rails?
      @fields
    end

    private

    # Gems define a module Rails without being Rails.
    def rails?
      defined?(::Rails) && ::Rails.respond_to?(:application) && ::Rails.respond_to?(:root) && !::Rails.application.nil?
    rescue *FAILURES => e
      report("name", e)
      false
    end

    def rails_facts(application)
      fact("public_path") { ::Rails.public_path && absolute(::Rails.public_path) }
      fact("page_cache_dirs") { page_cache_directories(application) }
      fact("assets_prefix") { assets_prefix(application.config) }
      fact("relative_url_root") { relative_url_root(application.config) }
    end

    # Not at all, if the block gives nil.
    def fact(name)
      value = yield
      @fields[name] = transportable(value) unless value.nil?
    rescue *FAILURES => e
      report(name, e)
    end

    def report(name, error)
      reason = error.is_a?(Unusable) ? error.message : "could not be read: #{error.class}: #{Exceptions.message(error)}"
      Log.write("the application's #{name} #{reason}")
    end

    def absolute(path) = File.expand_path(path.to_s, ::Rails.root.to_s)

    # Control messages are UTF-8.
    def transportable(value)
      text = value.to_s.dup.force_encoding(Encoding::UTF_8)
      raise Unusable, "is not UTF-8: #{text.inspect}" unless text.valid_encoding?
      raise Unusable, "contains a NUL byte" if text.include?("\0")

      text
    end

    def page_cache_directories(application)
      found = PageCacheDirectories.new(configuration_of(application.config, :action_controller))
      usable = found.to_a.filter_map { |path| usable_directory(path) }.uniq
      found.complaints.each { |line| Log.write(line) }
      if usable.size > MOST_DIRECTORIES
        Log.write("the application has #{usable.size} page cache directories; the server looks into the first #{MOST_DIRECTORIES} " \
                  "and not into #{usable.drop(MOST_DIRECTORIES).join(', ')}")
      end
      usable.empty? ? nil : usable.first(MOST_DIRECTORIES).join("\n")
    end

    # Absolute; nil if it can't be sent. They are sent as lines.
    def usable_directory(path)
      full = transportable(absolute(transportable(path)))
      return full if full.bytesize <= LONGEST_PATH && !full.include?("\n")

      raise Unusable, "has #{full.bytesize} bytes or a line feed in its name"
    rescue Unusable => e
      report("page cache directory #{path[0, 100].inspect}", e)
      nil
    end

    def assets_prefix(config)
      prefix = configuration_of(config, :assets)&.prefix
      prefix && "/#{prefix.to_s.gsub(%r{\A/+|/+\z}, '')}"
    end

    # In the order in which Rails' own parts look at them.
    def relative_url_root(config)
      places = [
        -> { configuration_of(config, :relative_url_root) },
        -> { ENV["RAILS_RELATIVE_URL_ROOT"] },
        -> { configuration_of(config, :action_controller)&.relative_url_root }
      ]
      root = places.lazy.map { |place| place.call.to_s.gsub(%r{\A/+|/+\z}, "") }.find { |path| !path.empty? }
      root ? "/#{root}" : ""
    end

    # A framework that is not loaded has no configuration.
    def configuration_of(config, name) = config.respond_to?(name) ? config.public_send(name) : nil
  end
end
