class CommentsController < ApplicationController
  before_action :require_name

  def create
    @post = Post.find(params[:post_id])
    @comment = @post.comments.new(params.require(:comment).permit(:body).merge(author: current_name))
    if @comment.save
      redirect_to post_path(@post, anchor: helpers.dom_id(@comment))
    else
      render "posts/show", status: 422
    end
  end
end
