# frozen_string_literal: true

module Harness
  # A throwaway instance of a service that an application uses, listening on a Unix socket in a directory of its own. It ends
  # with the same proofs as a server under test.
  class Service < Server
    # The client program of the service, one question at a time.
    class Failure < StandardError; end

    def initialize(argv, directory:, socket:, **rest)
      super(argv, address: socket, directory: directory, **rest)
    end

    private

    def ask(*argv)
      reader, writer = IO.pipe
      pid = Process.spawn(Suite.environment, *argv, in: File::NULL, out: writer, err: writer, unsetenv_others: true)
      writer.close
      answer = reader.read
      _, status = Process.wait2(pid)
      raise Failure, "#{argv.join(" ")}: #{answer}\n#{tail}" unless status.success?

      answer.force_encoding(Encoding::UTF_8)
    ensure
      reader&.close
    end
  end
end
