# frozen_string_literal: true

module PhusionPassenger
  # rack.input of requests without a body. It has no state, so all of them share one.
  class NullInput
    def read(length = nil, buffer = nil)
      buffer&.clear
      return nil if length && length.positive?

      buffer || String.new(encoding: Encoding::BINARY)
    end

    def gets(*) = nil
    def getc = nil
    def getbyte = nil
    def readpartial(*) = raise(EOFError, "end of file reached")
    def readline(*) = raise(EOFError, "end of file reached")
    def readlines(*) = []
    def rewind = 0
    def seek(*) = 0
    def pos = 0
    def size = 0
    def eof? = true
    def close = nil
    def closed? = false
    def sync = true
    def sync=(value)
      value
    end
    def binmode = self
    def fileno = nil
    def isatty = false
    def external_encoding = Encoding::BINARY
    def internal_encoding = nil

    def each(*)
      block_given? ? self : [].each
    end

    alias tell pos
    alias length size
    alias eof eof?
    alias tty? isatty
    alias each_line each
    alias each_byte each
  end
end
