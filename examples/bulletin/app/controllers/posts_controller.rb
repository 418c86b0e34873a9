class PostsController < ApplicationController
  PER_PAGE = 12

  before_action :require_name, except: %i[index show]
  before_action :find_post, only: :show
  before_action :find_own_post, only: %i[edit update destroy]

  def index
    @category = params[:category].presence_in(Post::CATEGORIES)
    @page = [params[:page].to_i, 1].max
    # One more than the page holds tells whether there is a next one, without counting the table.
    posts = Post.in_category(@category).newest_first.includes(:attachments)
                .offset((@page - 1) * PER_PAGE).limit(PER_PAGE + 1).to_a
    @more = posts.size > PER_PAGE
    @posts = posts.first(PER_PAGE)
  end

  def show
    @comment = @post.comments.new
  end

  def new
    @post = Post.new(category: params[:category].presence_in(Post::CATEGORIES) || "news")
  end

  def create
    @post = Post.new(post_params.merge(author: current_name))
    if @post.save
      redirect_to @post, notice: "Your notice is on the board."
    else
      render :new, status: 422
    end
  end

  def edit; end

  def update
    if @post.update(post_params)
      redirect_to @post, notice: "Your changes are on the board."
    else
      render :edit, status: 422
    end
  end

  def destroy
    @post.destroy!
    redirect_to root_path, notice: "Your notice has been taken down."
  end

  private

  def find_post
    @post = Post.find(params[:id])
  end

  def find_own_post
    find_post
    return if @post.written_by?(current_name)

    redirect_to @post, alert: "Only #{@post.author} can change this notice."
  end

  def post_params
    params.require(:post).permit(:title, :body, :category, files: [])
  end
end
