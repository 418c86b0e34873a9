# Signing in is giving a name. There are no accounts and no passwords: this is an example, and everybody can be anybody.
class SessionsController < ApplicationController
  def new; end

  def create
    name = params[:name].to_s.squish
    if name.empty? || name.length > 40
      flash.now[:alert] = "A name has 1 to 40 characters."
      return render(:new, status: 422)
    end

    return_to = session[:return_to]
    # A new session for a new visitor, so that an old cookie is worth nothing.
    reset_session
    session[:name] = name
    redirect_to return_to || root_path, notice: "Welcome, #{name}."
  end

  def destroy
    reset_session
    redirect_to root_path, notice: "You have signed out."
  end
end
