module ApplicationHelper
  CATEGORY_NAMES = { "news" => "News", "event" => "Events", "offer" => "Offers", "wanted" => "Wanted" }.freeze

  def category_badge(category)
    tag.span(CATEGORY_NAMES.fetch(category), class: "badge badge-#{category}")
  end

  # The moment itself for machines, the distance for people.
  def ago(time)
    tag.time("#{time_ago_in_words(time)} ago", datetime: time.iso8601, title: time.to_formatted_s(:long))
  end

  def nav_link(text, path)
    link_to text, path, "aria-current": (current_page?(path) ? "page" : nil)
  end

  # Who answers: shows at a glance which server and which of its processes made the page.
  def served_by
    "#{request.env["SERVER_SOFTWARE"].presence || "an unnamed server"}, process #{Process.pid}, Rails #{Rails.version}, " \
      "Ruby #{RUBY_VERSION}, #{Rails.env}"
  end
end
