# frozen_string_literal: true

module PhusionPassenger
  module ForkSafety
    # All databases that Sequel knows of. They connect when they are used.
    class SequelDatabases < Family
      def before_fork
        each_of(databases, "disconnecting a database of Sequel", &:disconnect)
      end

      alias after_fork before_fork

      private

      # A thread of the application may be adding one.
      def databases
        sequel = loaded("Sequel") or return []
        return [] unless sequel.const_defined?(:DATABASES, false)

        sequel.respond_to?(:synchronize) ? sequel.synchronize { sequel::DATABASES.dup } : sequel::DATABASES.dup
      end
    end
  end
end
