# A page that is the same for everybody: nothing in it comes from a session. Where the gem actionpack-page_caching is installed
# and caching is on, the first visit writes it to public/highlights.html (and compressed, to highlights.html.gz), and the
# application server serves it from there. So it is with highlights.json, for the screen in the library's window.
class HighlightsController < ApplicationController
  PATHS = %w[/highlights /highlights.json].freeze

  layout "public"

  caches_page :show, gzip: true if respond_to?(:caches_page)

  # Removes the cached pages; the next visits write them anew.
  def self.expire
    PATHS.each { |path| expire_page(path) } if respond_to?(:expire_page)
  end

  def show
    @discussed = Post.most_discussed.limit(5)
    @events = Post.in_category("event").newest_first.limit(5)
    @comments = Comment.order(created_at: :desc, id: :desc).limit(5).includes(:post)
    @generated_at = Time.current
    @cached = perform_caching && respond_to?(:cache_page)
    respond_to do |format|
      format.html
      format.json { render json: { discussed: titles(@discussed), events: titles(@events), made_at: @generated_at.iso8601 } }
    end
  end

  private

  # Paths, not URLs: a cached page must not keep the name under which its first visitor reached the server.
  def titles(posts)
    posts.map { |post| { title: post.title, author: post.author, url: post_path(post) } }
  end
end
