class LiveController < ApplicationController
  def show; end
end
