module ApplicationCable
  # Reading the board takes no sign-in, and neither does watching it.
  class Connection < ActionCable::Connection::Base
  end
end
