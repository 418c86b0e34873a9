# frozen_string_literal: true

module Bench
  # What the processes of a server that has nothing to do hold in memory. The servers are started one after the other, so that
  # none shares pages of the interpreter's libraries with another (which would lower its PSS).
  class Idle
    # After the start, until whatever was put off to "later" has been done.
    SETTLE = 3
    # The server process itself (interpreter and engine, no application), resident, in bytes.
    GOAL = 60 * 1024 * 1024
    TITLE = "Memory of idle servers"
    ORDER = %i[server command watchdog preloader worker helper].freeze

    Row = Struct.new(:app, :server, :role, :memory)

    attr_reader :rows, :commands

    def initialize(definitions, apps, setup, session)
      @definitions = definitions
      @apps = apps
      @setup = setup
      @session = session
      @rows = []
      @commands = {}
    end

    def run
      @apps.each do |app|
        @session.prepare(app, @setup.ruby)
        @definitions.each { |definition| measure(definition, app) }
      end
      self
    end

    def name
      "idle"
    end

    def title
      TITLE
    end

    def subtitle
      "#{@setup.processes} application processes each, #{SETTLE} s after the first answer, no requests"
    end

    def faults
      []
    end

    def tables
      @apps.map { |app| "### #{app.name}\n\n#{table(app)}" }.join("\n")
    end

    def details
      "RSS counts shared pages in every process, PSS divides them by the number of processes that share them, private pages " \
        "belong to one process alone. The original's row *command* is the `passenger start` that stays in the foreground."
    end

    def verdicts
      ours = rows.select { |row| row.server == Servers::Passenger.label && row.role == :server && row.app == App::HELLO.name }
      ours.map do |row|
        "#{row.memory.rss <= GOAL ? 'met   ' : 'MISSED'}  idle server process: #{Units.bytes(row.memory.rss)} RSS (goal ≤ #{Units.bytes(GOAL)})"
      end
    end

    def plot
      panels = @apps.flat_map do |app|
        [panel("Resident memory (RSS) of the server process, #{app.name}", app) { |row| row.role == :server ? row.memory.rss : 0 },
         panel("Proportional memory (PSS) of all processes, #{app.name}", app) { |row| row.memory.pss }]
      end
      Plot.new(title: TITLE, subtitle: subtitle, panels: panels)
    end

    private

    def table(app)
      lines = rows.select { |row| row.app == app.name }.group_by(&:server).flat_map do |server, processes|
        processes.map { |row| [server, row.role, *cells(row.memory)] } <<
          [server, "**all**", *cells(processes.map(&:memory).sum(ProcessTree::Memory.zero))]
      end
      Table.new(%w[server process RSS PSS private], lines, text: 2).to_s
    end

    def measure(definition, app)
      server = @session.start(definition, app, @setup)
      @commands[definition.key] ||= server.public_command
      sleep SETTLE
      found = server.processes.filter_map do |entry|
        memory = ProcessTree.memory(entry.pid) or next
        role = definition.role(entry.title) or raise Error, "#{definition.label}: what is the process #{entry.title.inspect} for?"
        Row.new(app.name, definition.label, role, memory)
      end
      @rows.concat(found.sort_by { |row| ORDER.index(row.role) })
      @session.say "#{app.name}: #{definition.label} has #{found.size} processes"
    ensure
      @session.stop(server) if server
    end

    def panel(title, app, &value)
      bars = @definitions.map do |definition|
        bytes = rows.select { |row| row.app == app.name && row.server == definition.label }.sum(&value)
        Plot::Bar.new(label: definition.label, spread: Spread.of([bytes / Units::MEBIBYTE]), text: Units.bytes(bytes),
                      ours: definition.key == :passenger)
      end
      Plot::Panel.new(title: title, axis: "MB (shorter is better)", bars: bars)
    end

    def cells(memory)
      [memory.rss, memory.pss, memory.private].map { |bytes| Units.bytes(bytes) }
    end
  end
end
