# frozen_string_literal: true

# Every process subscribes to two channels, through the adapter of Action Cable, and writes what it receives into a file of its
# own. cable_server.rb comes from spec/support/cable.rb.

require_relative "cable_server"

CHANNELS = %w[chat news].freeze

PhusionPassenger.on_event(:starting_worker_process) do
  record = CableRecord.new(File.join(__dir__, "received-#{Process.pid}"))
  CHANNELS.each { |channel| record.follow(channel) }
end

# /publish?channel=C&from=N&count=M: the messages N … N+M-1
run(lambda do |env|
  query = Rack::Utils.parse_query(env["QUERY_STRING"])
  if env["PATH_INFO"] == "/publish"
    first = query.fetch("from").to_i
    first.upto(first + query.fetch("count").to_i - 1) { |number| CABLE.broadcast(query.fetch("channel"), number) }
  end
  [200, { "content-type" => "text/plain" }, [Process.pid.to_s]]
end)
