# Server-sent events: a clock, and what happens on the board.
class StreamsController < ApplicationController
  include ActionController::Live

  # A stream ends after so many seconds and the browser opens the next by itself (EventSource). In development that lets changed
  # code be loaded, which waits for running requests; everywhere it gives the thread back to others now and then.
  LONGEST = 30

  def show
    response.headers["Content-Type"] = "text/event-stream"
    # Nothing on the way may hold the events back: no ETag is computed, no proxy buffers.
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["Last-Modified"] = Time.now.httpdate

    events = SSE.new(response.stream, retry: 1000)
    seconds.times do |number|
      sleep 1 unless number.zero?
      events.write(state, event: "tick", id: number + 1)
    end
  rescue ActionController::Live::ClientDisconnected
    logger.info("The reader of the stream has left")
  ensure
    events&.close
  end

  private

  def seconds
    (params[:seconds] || LONGEST).to_i.clamp(1, LONGEST)
  end

  # The thread of a stream is not Rails' request thread; it has to give its database connection back itself.
  def state
    ActiveRecord::Base.connection_pool.with_connection do
      latest = Comment.order(id: :desc).includes(:post).first
      {
        time: Time.current.strftime("%H:%M:%S"), pid: Process.pid, posts: Post.count, comments: Comment.count,
        latest: latest && { author: latest.author, title: latest.post.title, url: post_path(latest.post) }
      }
    end
  end
end
