# frozen_string_literal: true

module PhusionPassenger
  module ForkSafety
    # Processes must not draw the same numbers: Ruby's default generator (rand, Array#shuffle, Random.rand), and that of an
    # OpenSSL that does not notice a fork. SecureRandom asks the kernel.
    class Randomness < Family
      # Bytes: as much as a generator of 256 bits can take
      SEED = 32
      # OpenSSL 1.1.1, the first that starts anew in a child when it is used there; made to do so here, it would take several
      # milliseconds.
      NOTICES_FORKS = 0x10101000

      def after_fork
        srand
        openssl = loaded("OpenSSL") or return
        return if openssl::OPENSSL_VERSION_NUMBER >= NOTICES_FORKS

        attempt("seeding OpenSSL's random numbers") { openssl::Random.seed(Random.urandom(SEED)) }
      end
    end
  end
end
