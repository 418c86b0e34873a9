# frozen_string_literal: true

module Bench
  # `bin/bench`: measures, prints, writes. Returns the exit status.
  class Command
    def self.run(arguments, out: $stdout, progress: $stderr)
      new(Setup.parse(arguments), out, progress).run
    rescue Error => e
      progress.puts "bench: #{e.message}"
      1
    rescue SignalException => e # Ctrl-C is one of them. What was started has been ended on the way here.
      progress.puts "bench: ended by #{e.signm.empty? ? e.class : e.signm}"
      128 + e.signo
    end

    def initialize(setup, out, progress)
      @setup = setup
      @out = out
      @progress = progress
    end

    def run
      case @setup.subject
      when "boot" then boot
      when "idle" then idle
      when "static" then static
      when "static-memory" then static_memory
      when "pool" then pool
      when "cable" then cable
      when "all" then contests(CONTESTS.select { |contest| @setup.only.nil? || @setup.only.include?(contest.name) })
      else contests(CONTESTS.select { |contest| contest.name == @setup.subject })
      end
    end

    private

    # A case that fails does not keep the others from being run.
    def contests(chosen)
      Wrk.version # Without it there is no use in starting anything.
      labels = labels(servers)
      chosen.map do |contest|
        run = Session.open(@progress) { |session| SideBySide.new(contest, servers, @setup, session).run }
        publish(Report.new(contest, run, labels: labels, setup: @setup), labels)
      end.max
    end

    def boot
      definitions = installed(Servers::RailsServer::ALL)
      publish(Session.open(@progress) { |session| Boot.new(definitions, @setup, session).run }, labels(definitions))
    end

    def idle
      apps = [App::HELLO, Bulletin.new("production")]
      publish(Session.open(@progress) { |session| Idle.new(servers, apps, @setup, session).run }, labels(servers))
    end

    def static
      Wrk.version
      definitions = installed(STATIC_SERVERS)
      labels = labels(definitions)
      cases = Static::CASES.select { |kase| @setup.only.nil? || @setup.only.include?(kase.name) }
      run = Session.open(@progress) { |session| Static::Contest.new(cases, definitions, @setup, session).run }
      publish(Static::Report.new(run, labels: labels, setup: @setup), labels)
    end

    def static_memory
      Wrk.version
      definitions = installed([Servers::Passenger])
      publish(Session.open(@progress) { |session| Static::Memory.new(@setup, session).run }, labels(definitions))
    end

    def pool
      definitions = installed(POOL_SERVERS)
      raise Error, "pool measures this project's server: leave it in --servers" unless definitions.include?(Servers::Passenger)

      contest = Pool::Contest.new(@setup, @progress).run
      publish(contest, labels(definitions).merge(contest.commands.to_h { |what, _| [what, what] }))
    end

    def cable
      Wrk.version
      definitions = installed(CABLE_SERVERS)
      labels = labels(definitions)
      publish(Session.open(@progress) { |session| Cable::Contest.new(definitions, @setup, session, labels).run }, labels)
    end

    def servers
      @servers ||= installed(SERVERS)
    end

    def installed(definitions)
      chosen = definitions.select { |definition| @setup.servers.include?(definition.key) }
      raise Error, "#{@setup.subject} measures #{definitions.map(&:key).join(', ')}; --servers leaves none of them" if chosen.empty?

      missing = chosen.filter_map { |definition| "#{definition.label}: #{definition.missing}" if definition.missing }
      return chosen if missing.empty?

      raise Error, "can't run all servers:\n#{missing.join("\n")}\n(--servers chooses which ones to run)"
    end

    # Names with versions, by key.
    def labels(definitions)
      definitions.to_h { |definition| [definition.key, "#{definition.label} #{definition.version(@setup.ruby)}"] }
    end

    # `finding` answers to name, title, subtitle, tables, details, plot, verdicts, faults and commands.
    def publish(finding, labels)
      @out.puts "", "## #{finding.title}", "", finding.tables, "", *finding.verdicts
      return failed(finding) if finding.faults.any?

      files = document(finding, labels).write
      @out.puts "", "written: #{files.map { |file| file.delete_prefix("#{ROOT}/") }.join(', ')}"
      0
    end

    # Numbers taken while requests failed are no numbers: they are not written over good ones.
    def failed(finding)
      @out.puts "", *finding.faults, "FAILED: #{finding.title}: #{finding.faults.size} faulty measurements; nothing was written"
      1
    end

    def document(finding, labels)
      document = Document.new(finding.name, @setup.output).add("# #{finding.title}").add("#{finding.subtitle}.")
      plot = finding.plot # Some parts of the pool's contest have nothing to draw.
      document.add_plot(plot, "#{finding.title}: bar charts of the tables below") if plot
      document.add(finding.tables)
              .add("## Details").add(finding.details)
              .add("## Conditions").add(Table.new(["what", "in this run"], conditions(labels), text: 2))
              .add("The servers were started with:")
              .add_listing(finding.commands.transform_keys { |key| labels.fetch(key) })
    end

    def conditions(labels)
      facts = Machine.facts(@setup.ruby)
      servers = EVERY_SERVER.select { |server| labels.key?(server.key) }.to_h { |server| [server.label, server.version(@setup.ruby)] }
      commit = labels.key?(Servers::Passenger.key) ? { "Commit" => Servers::Passenger.revision } : {}
      { "Command" => "`#{@setup.command}`" }.merge(commit, servers, facts).to_a
    end
  end
end
