require "fileutils"
require "securerandom"

# The example has no committed secret and yet runs in production on the first try: without SECRET_KEY_BASE, one is made and
# kept in a file that only its owner can read. An application that matters sets SECRET_KEY_BASE.
module LocalSecret
  def self.fetch(path)
    given = ENV["SECRET_KEY_BASE"].to_s
    return given unless given.empty?

    create(path) unless path.exist?
    path.read.chomp
  end

  # Several processes may start at once. A file that appears complete, by link(2), gives all of them the same secret.
  def self.create(path)
    FileUtils.mkdir_p(path.dirname)
    draft = path.sub_ext(".#{Process.pid}")
    File.write(draft, SecureRandom.hex(64), perm: 0o600)
    File.link(draft, path)
  rescue Errno::EEXIST
    # Another process was first; its secret is the one to read.
  ensure
    FileUtils.rm_f(draft)
  end
  private_class_method :create
end
