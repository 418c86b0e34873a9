# Sample notices. Running this twice changes nothing: a board that has notices is left alone.
require "zlib"

# A plan of the garden as a PNG, drawn here so that no binary file lies in the repository: `rows` are strings of letters, one
# square of `size` pixels each, coloured by `colours`.
def png(rows, colours, size: 36)
  width = rows.first.length * size
  lines = rows.flat_map { |row| ["\0".b + row.each_char.map { |c| colours.fetch(c).pack("C3") * size }.join.b] * size }
  chunk = ->(type, data) { [data.bytesize, type, data, Zlib.crc32(type + data)].pack("Na4a*N") }
  "\x89PNG\r\n\x1a\n".b +
    chunk["IHDR", [width, lines.size, 8, 2, 0, 0, 0].pack("N2C5")] +
    chunk["IDAT", Zlib::Deflate.deflate(lines.join)] + chunk["IEND", ""]
end

def notice(hours_ago, category, author, title, body, files: {}, comments: [])
  created_at = hours_ago.hours.ago
  post = Post.new(category: category, author: author, title: title, body: body, created_at: created_at)
  files.each { |name, bytes| post.attachments.build(content: [name, bytes]) }
  post.save!
  comments.each_with_index do |(name, text), index|
    post.comments.create!(author: name, body: text, created_at: created_at + (index + 1) * [hours_ago / 6.0, 5].min.hours)
  end
end

return if Post.exists?

plan = png(
  %w[pppppppppppp pttpbbbpccpp pttpbbbpccpp pppppppppppp pssppkkkppwp pssppkkkppwp pppppppppppp],
  { "p" => [222, 207, 172], "t" => [206, 78, 57], "b" => [112, 148, 84], "c" => [226, 145, 56],
    "s" => [161, 108, 158], "k" => [66, 112, 86], "w" => [111, 163, 196] }
)
beds = <<~CSV
  bed,crop,sown,looked after by
  1,tomatoes,2 May,blue team
  2,beans,9 May,blue team
  3,carrots,18 April,green team
  4,lavender,,everyone
  5,kale,25 April,green team
CSV

Post.transaction do
  notice 900, "news", "Library", "New opening hours",
         "From next month the branch library is open until 20:00 on Tuesdays and Thursdays. The reading corner on the first floor " \
         "opens an hour earlier for homework."
  notice 610, "offer", "Tool library", "Cargo bike to borrow",
         "The cargo bike is back from its service. It carries 80 kg, or three children and a cake. Two days at most, please bring it " \
         "back with a charged battery.",
         comments: [["Allotment 12", "Borrowed it for compost. A joy."], ["Choir", "Does it take a harmonium?"],
                    ["Tool library", "It has taken a washing machine."]]
  notice 420, "wanted", "Repair café", "Someone who understands sewing machines",
         "We have four machines waiting and nobody who dares to open them. First Saturday of the month, tea and cake included."
  notice 300, "event", "Choir", "Open rehearsal",
         "Come and sing with us, no audition, no sheet music needed. We meet in the school hall at 19:30 and stop when the caretaker " \
         "switches the lights off."
  notice 190, "news", "Water works", "Water off in Mill Street",
         "The pipe below numbers 4 to 18 is replaced on Wednesday. There will be no water between 9:00 and 13:00; a tap stands at the " \
         "corner of the square.",
         comments: [["Bakery", "We open at 14:00 that day."]]
  notice 96, "offer", "Allotment 12", "Far too many courgettes",
         "You know how it is. Take as many as you can carry from the crate by the gate. Recipes are pinned to the lid."
  notice 52, "wanted", "School garden", "Rain barrels",
         "The fifth-graders want to measure how much rain falls on the gym roof, and then drink it (we have talked them out of the " \
         "second part). Barrels in any state welcome.",
         comments: [["Tool library", "There are two behind our shed."], ["School garden", "Collected, thank you!"]]
  notice 30, "event", "Repair café", "Repair café on Saturday",
         "Bring toasters, trousers and anything with a plug. Doors open at 10:00, last repair begins at 15:30. Of the 31 things that " \
         "came in last time, 24 left working.",
         comments: [["Library", "May we bring the book lift?"], ["Repair café", "If it fits through the door."]]
  notice 9, "news", "Garden group", "The plan for this year's beds",
         "Here it is at last: who grows what, and where. The path between beds two and three is wider now, so the wheelbarrow fits " \
         "through.\n\nThe lavender stays, the bees insist.",
         files: { "garden-plan.png" => plan, "beds.csv" => beds },
         comments: [["School garden", "Can we have a corner of bed five?"], ["Garden group", "It is yours."],
                    ["Allotment 12", "Whoever takes the kale: mind the slugs."], ["Bakery", "Will there be a pumpkin this year?"]]
  notice 5, "offer", "Bakery", "Yesterday's bread, half the price",
         "Every evening from 17:30. Fine for toast, soup and ducks (the ducks have asked us to mention the soup)."
  notice 2, "event", "Film club", "Open-air cinema in the yard",
         "Friday at dusk, behind the library. Bring a chair and something warm. If it rains, we move into the bicycle cellar, which has " \
         "excellent acoustics.",
         comments: [["Choir", "Is it a musical?"], ["Film club", "It is now."]]
  notice 0.4, "wanted", "Choir", "A lost blue scarf",
         "Left on the bench after the rehearsal. Whoever found it may also have our spare tenor, who was sitting next to it."
end
