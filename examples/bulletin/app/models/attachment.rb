require "fileutils"
require "marcel"

# A file that belongs to a post. The row has its name and type, the bytes lie in storage/ENVIRONMENT under a random key, so that
# nothing a visitor chooses ever becomes part of a path.
class Attachment < ApplicationRecord
  MAX_BYTES = 100.megabytes

  # Types a browser shows without running anything in them; all others are only offered for download.
  DISPLAYABLE = %w[image/png image/jpeg image/gif image/webp].freeze

  belongs_to :post

  validates :filename, presence: true, length: { maximum: 255 }
  validates :byte_size, numericality: { less_than_or_equal_to: MAX_BYTES, message: "is more than #{MAX_BYTES / 1.megabyte} MB" }

  before_create :keep_file
  after_rollback :remove_file, on: :create
  after_destroy_commit :remove_file

  # An uploaded file of a form.
  def upload=(upload)
    @source = upload.tempfile
    describe(upload.original_filename, upload.size)
  end

  # Content that the application makes itself.
  def content=(pair)
    name, bytes = pair
    @source = StringIO.new(bytes.b)
    describe(name, bytes.bytesize)
  end

  def path
    Rails.application.config.x.storage_path.join(storage_key.first(2), storage_key)
  end

  def displayable?
    DISPLAYABLE.include?(content_type)
  end

  private

  def describe(name, size)
    self.filename = File.basename(name.to_s.tr("\\", "/"))
    self.byte_size = size
    self.content_type = Marcel::MimeType.for(@source, name: filename)
    self.storage_key = SecureRandom.hex(16)
  end

  def keep_file
    FileUtils.mkdir_p(path.dirname)
    @source.rewind
    File.open(path, "wbx") { |file| IO.copy_stream(@source, file) }
  end

  def remove_file
    FileUtils.rm_f(path)
  end
end
