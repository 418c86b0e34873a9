class Post < ApplicationRecord
  include ShownInHighlights

  CATEGORIES = %w[news event offer wanted].freeze

  has_many :comments, -> { order(:created_at, :id) }, inverse_of: :post, dependent: :destroy
  has_many :attachments, -> { order(:id) }, inverse_of: :post, validate: false, dependent: :destroy

  validates :title, presence: true, length: { maximum: 120 }
  validates :body, presence: true, length: { maximum: 20_000 }
  validates :author, presence: true, length: { maximum: 40 }
  validates :category, inclusion: { in: CATEGORIES }
  validate :files_are_acceptable

  scope :newest_first, -> { order(created_at: :desc, id: :desc) }
  scope :in_category, ->(category) { CATEGORIES.include?(category) ? where(category: category) : all }
  scope :most_discussed, -> { where("comments_count > 0").order(comments_count: :desc, created_at: :desc) }

  # Uploaded files of the form. An empty file field arrives as "".
  def files=(uploads)
    Array(uploads).each { |upload| attachments.build(upload: upload) if upload.present? }
  end

  def written_by?(name)
    name.present? && author == name
  end

  private

  # Says which of several files is wrong, and why.
  def files_are_acceptable
    attachments.select(&:new_record?).reject(&:valid?).each do |file|
      file.errors.full_messages.each { |message| errors.add(:base, "#{file.filename}: #{message}") }
    end
  end
end
