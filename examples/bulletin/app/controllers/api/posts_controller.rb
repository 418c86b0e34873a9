module Api
  # The board as JSON: GET /api/posts, GET /api/posts/1, POST /api/posts.
  #
  # Nobody signs in here, so lists are the same for everybody and may be kept for a while, by clients and by the application
  # server. It forgets them when something is posted to the same URL.
  class PostsController < ActionController::API
    include ActionController::MimeResponds

    MAX_PER_PAGE = 100

    wrap_parameters :post, format: [:json], include: %w[title body author category]

    rescue_from ActiveRecord::RecordNotFound do |error|
      render json: { error: "no post with id #{error.id}" }, status: 404
    end

    rescue_from ActionController::ParameterMissing do |error|
      render json: { error: error.message.lines.first.chomp }, status: 400
    end

    def index
      expires_in 1.minute, public: true
      limit = (params[:limit] || 20).to_i.clamp(1, MAX_PER_PAGE)
      posts = Post.in_category(params[:category]).newest_first.limit(limit).offset([params[:offset].to_i, 0].max)
      render json: { posts: posts.map { |post| summary(post) } }
    end

    def show
      post = Post.includes(:comments, :attachments).find(params[:id])
      render json: details(post) if stale?(post)
    end

    def create
      post = Post.new(params.require(:post).permit(:title, :body, :author, :category))
      if post.save
        render json: details(post), status: 201, location: api_post_url(post)
      else
        render json: { errors: post.errors.messages }, status: 422
      end
    end

    private

    def summary(post)
      post.slice(:id, :title, :author, :category, :comments_count).merge(
        created_at: post.created_at.iso8601, url: api_post_url(post)
      )
    end

    def details(post)
      summary(post).merge(
        body: post.body,
        comments: post.comments.map { |c| c.slice(:id, :author, :body).merge(created_at: c.created_at.iso8601) },
        attachments: post.attachments.map { |a| a.slice(:id, :filename, :content_type, :byte_size).merge(url: attachment_url(a)) }
      )
    end
  end
end
