# A page that is the same for everybody: nothing in it comes from a session. Where the gem actionpack-page_caching is installed
# and caching is on, the first visit writes it to public/highlights.html, and the application server serves it from there.
class HighlightsController < ApplicationController
  layout "public"

  caches_page :show if respond_to?(:caches_page)

  # Removes the cached page; the next visit writes it anew.
  def self.expire
    expire_page("/highlights") if respond_to?(:expire_page)
  end

  def show
    @discussed = Post.most_discussed.limit(5)
    @events = Post.in_category("event").newest_first.limit(5)
    @comments = Comment.order(created_at: :desc, id: :desc).limit(5).includes(:post)
    @generated_at = Time.current
    @cached = perform_caching && respond_to?(:cache_page)
  end
end
