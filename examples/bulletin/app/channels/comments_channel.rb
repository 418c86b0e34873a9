# Sends the new comments of one post to everyone who has it open.
class CommentsChannel < ApplicationCable::Channel
  def self.announce(comment)
    html = ApplicationController.render(partial: "comments/comment", locals: { comment: comment })
    broadcast_to(comment.post, id: comment.id, html: html)
  end

  def subscribed
    post = Post.find_by(id: params[:post_id])
    post ? stream_for(post) : reject
  end
end
