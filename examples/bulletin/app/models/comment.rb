class Comment < ApplicationRecord
  include ShownInHighlights

  belongs_to :post, counter_cache: true, touch: true

  validates :author, presence: true, length: { maximum: 40 }
  validates :body, presence: true, length: { maximum: 2_000 }

  after_create_commit { CommentsChannel.announce(self) }
end
