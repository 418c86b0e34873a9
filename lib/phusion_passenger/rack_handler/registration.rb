# frozen_string_literal: true

module PhusionPassenger
  module RackHandler
    # Makes the handler known to Rack, as "passenger" and as the default, whatever other servers the bundle has.
    #
    # Rack 2 keeps its handlers in Rack::Handler; with Rack 3 they are in Rackup::Handler, a gem of its own that an
    # application may or may not use. Only what the application has is touched: `rackup` is never brought into a process
    # whose bundle lacks it (with Rack 2 it would replace Rack's own registry).
    module Registration
      # Goes before a registry's own `default`, which tries Puma first. An explicit choice in the environment stays.
      module DefaultHandler
        CHOICES = %w[RACKUP_HANDLER RACK_HANDLER].freeze

        def default(*arguments)
          return super if CHOICES.any? { |name| ENV.key?(name) }

          get("passenger")
        end
      end

      # Reports that a registry is defined later than this file is loaded.
      module Watch
        def const_added(name)
          super
          Registration.added(self, name)
        end
      end

      class << self
        # May be called any number of times.
        def install
          load_registry
          registries = loaded_registries
          registries.each { |registry| register(registry) }
          watch if registries.empty?
        end

        # A constant has been defined; it may be a registry, or the module that will hold it.
        def added(owner, name)
          case name
          when :Rackup
            ::Rackup.singleton_class.prepend(Watch) if owner.equal?(Object)
          when :Handler
            # Its body has not been evaluated yet; the name is registered when somebody asks for it.
            owner::Handler.singleton_class.prepend(DefaultHandler) if owner.equal?(Object.const_get(:Rackup))
          end
        end

        private

        # The registry is one small file that loads nothing else, and whoever starts a server loads it anyway.
        def load_registry
          rack = defined?(Gem) && Gem.loaded_specs["rack"]
          if rack && rack.version < Gem::Version.new("3")
            require "rack/handler"
          elsif defined?(Gem) && Gem.loaded_specs["rackup"]
            require "rackup/handler"
          elsif defined?(::Rack) && ::Rack.autoload?(:Handler)
            require "rack/handler"
          end
        end

        def loaded_registries
          registries = [registry_in(:Rackup), registry_in(:Rack)].compact.uniq
          registries.select { |registry| registry.respond_to?(:register) }
        end

        # The module's Handler, unless Rack would only now load it.
        def registry_in(owner_name)
          return unless Object.const_defined?(owner_name)

          owner = Object.const_get(owner_name)
          owner.const_get(:Handler, false) if owner.const_defined?(:Handler, false) && !owner.autoload?(:Handler, false)
        end

        def register(registry)
          singleton = registry.singleton_class
          singleton.prepend(DefaultHandler) unless singleton.include?(DefaultHandler)
          return if registry.const_defined?(:PhusionPassenger, false)

          registry.const_set(:PhusionPassenger, RackHandler)
          # Rack 2 keeps the name of a constant, Rackup the handler itself.
          rackup = registry.name.start_with?("Rackup")
          registry.register("passenger", rackup ? RackHandler : "Rack::Handler::PhusionPassenger")
        end

        # Ruby 3.2 and later tell when a constant is added. Before that, an application without a bundle has to load its
        # `rackup` first.
        def watch
          return unless Module.method_defined?(:const_added) || Module.private_method_defined?(:const_added)
          return if Object.singleton_class.include?(Watch)

          Object.singleton_class.prepend(Watch)
        end
      end
    end
  end
end
