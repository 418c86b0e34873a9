# frozen_string_literal: true

module PhusionPassenger
  module ForkSafety
    # Processes must not draw the same numbers: Ruby's default generator (rand, Array#shuffle, Random.rand) and that of
    # OpenSSL, which has known about forks only since 1.1.1. SecureRandom asks the kernel.
    class Randomness < Family
      # Bytes: as much as a generator of 256 bits can take
      SEED = 32

      def after_fork
        srand
        openssl = loaded("OpenSSL::Random") or return
        attempt("seeding OpenSSL's random numbers") { openssl.seed(Random.urandom(SEED)) }
      end
    end
  end
end
