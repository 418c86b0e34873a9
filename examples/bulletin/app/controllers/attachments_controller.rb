class AttachmentsController < ApplicationController
  def show
    attachment = Attachment.find(params[:id])
    inline = params[:disposition] == "inline" && attachment.displayable?
    send_file attachment.path, filename: attachment.filename, type: attachment.content_type,
                               disposition: inline ? "inline" : "attachment"
  end
end
