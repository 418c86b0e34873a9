# frozen_string_literal: true

# An application that takes too much: time, memory, or what it is told to.

require "fiddle"
require "rack"

class Limits
  DIRECTORY = __dir__
  # Whatever is allocated on demand stays.
  KEPT = []
  # Of a C extension that does not let other threads run meanwhile.
  SLEEP_WITH_LOCK = Fiddle::Function.new(Fiddle::Handle::DEFAULT["sleep"], [Fiddle::TYPE_INT], Fiddle::TYPE_INT, need_gvl: true)

  def call(env)
    query = Rack::Utils.parse_query(env["QUERY_STRING"])
    case env["PATH_INFO"]
    when "/pid" then text(Process.pid.to_s)
    when "/note" then note(query.fetch("name"))
    when "/hold" then hold(query.fetch("gate"))
    when "/allocate" then allocate(query)
    when "/stuck" then stuck(query.fetch("how"))
    when "/stream" then [200, {}, Endless.new]
    else [404, {}, []]
    end
  end

  # A body that does not end.
  class Endless
    def each
      loop do
        yield "piece "
        sleep 0.02
      end
    end
  end

  private

  def text(string)
    [200, { "content-type" => "text/plain", "content-length" => string.bytesize.to_s }, [string]]
  end

  # Tells afterwards which requests have reached the application.
  def note(name)
    File.write(File.join(DIRECTORY, "notes"), "#{name}\n", mode: "a")
    text("noted")
  end

  def hold(gate)
    File.write(File.join(DIRECTORY, "entered-#{gate}"), "#{Process.pid}\n", mode: "a")
    sleep 0.01 until File.exist?(File.join(DIRECTORY, "gate-#{gate}"))
    text("held by #{Process.pid}")
  end

  def allocate(query)
    KEPT << ("x" * (Integer(query.fetch("megabytes")) << 20))
    query.key?("gate") ? hold(query["gate"]) : text("allocated")
  end

  def stuck(how)
    case how
    when "sleep"
      sleep # stuck in sleep
    when "loop"
      loop { how.size } # stuck in loop
    when "extension"
      loop { SLEEP_WITH_LOCK.call(3600) } # stuck in extension
    end
  end
end

run Limits.new
