# frozen_string_literal: true

# Requests that keep a process busy in the ways that the pool's benchmark needs. Every answer tells which process worked on it, and from
# when to when (microseconds on CLOCK_MONOTONIC, which is the same clock in all processes of a machine).
require "uri"

now = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC, :microsecond) }

work = {
  # A fixed amount of computing, about 0.4 ms for every 10 000 steps on a machine of 2024.
  "/compute" => lambda { |steps:|
    sum = 0
    Integer(steps, 10).times { |number| sum ^= number }
  },
  "/wait" => ->(seconds:) { sleep Float(seconds) },
  # Computes for a time, without giving the interpreter's lock away.
  "/spin" => lambda { |seconds:|
    finish = now.call + (Float(seconds) * 1_000_000)
    nil while now.call < finish
  },
  # Until a file is there: held as long as whoever asks wants it. Another file tells how many are held, by its size.
  "/hold" => lambda { |gate:, held:|
    File.write(held, ".", mode: "a")
    sleep 0.005 until File.exist?(gate)
  },
  # Leaves a byte in a file: the application's own count of what it has run.
  "/count" => ->(file:) { File.write(file, ".", mode: "a") }
}
work.default = -> {}

run lambda { |env|
  began = now.call
  work[env["PATH_INFO"]].call(**URI.decode_www_form(env["QUERY_STRING"]).to_h.transform_keys(&:to_sym))
  body = "#{Process.pid} #{began} #{now.call}\n"
  [200, { "content-type" => "text/plain", "content-length" => body.bytesize.to_s }, [body]]
}
