class ApplicationController < ActionController::Base
  # Actions that write need a name, given once in the sign-in form and kept in the session.
  helper_method :current_name

  private

  def current_name
    session[:name]
  end

  def require_name
    return if current_name

    session[:return_to] = url_for(only_path: true) if request.get?
    redirect_to new_session_path, alert: "Tell us your name first."
  end
end
