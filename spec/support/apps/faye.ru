# frozen_string_literal: true

require "faye/websocket"

# What faye-websocket's own documentation has for servers with rack.hijack: EventMachine runs in a thread of its own and watches
# the sockets.
SOCKETS = []

if defined?(PhusionPassenger)
  PhusionPassenger.on_event(:stopping_worker_process) do
    EventMachine.schedule { SOCKETS.each { |socket| socket.close(4000, "the server restarts") } }
    sleep 0.01 until SOCKETS.empty?
  end
end

def web_socket(env)
  socket = Faye::WebSocket.new(env)
  SOCKETS << socket
  socket.on(:message) { |event| socket.send(event.data.upcase) }
  socket.on(:close) { SOCKETS.delete(socket) }
  socket.rack_response
end

def event_source(env)
  source = Faye::EventSource.new(env)
  3.times { |i| source.send("number #{i}", id: i.to_s) }
  source.close
  source.rack_response
end

run(lambda do |env|
  next web_socket(env) if Faye::WebSocket.websocket?(env)
  next event_source(env) if Faye::EventSource.eventsource?(env)

  [200, { "content-type" => "text/plain" }, ["no WebSocket"]]
end)
