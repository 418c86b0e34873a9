# frozen_string_literal: true

module Bench
  module Static
    # A public directory that holds more than the engine may keep in memory.
    class ManyFiles < Site
      COUNT = 10_000
      LENGTH = 20 * KILOBYTE

      # `cache_size` in megabytes.
      def initialize(cache_size)
        super("static-memory", path: "/many/00000.bin", length: LENGTH)
        @cache_size = cache_size
      end

      def passenger_options
        ["--static-cache-size", @cache_size.to_s]
      end

      private

      def each_file
        noise = Random.new(2)
        COUNT.times { |number| yield format("many/%05d.bin", number), noise.bytes(LENGTH) }
      end
    end

    # What the engine's process grows by when far more files are asked for than its cache may hold. Only /proc is asked: what
    # the engine itself believes to keep is not what the machine has to give.
    class Memory
      TITLE = "Memory for static files"
      # static_cache_size, in megabytes.
      CACHE = 64
      # By default Go starts to collect when the heap has doubled since the last time (GOGC=100): what is kept may be there twice
      # at the worst, the second time as garbage that files thrown out of the cache have left.
      ALLOWANCE = CACHE
      # After the load, for what is put off to "later".
      SETTLE = 3
      SCRIPT = File.expand_path("random_files.lua", __dir__)

      Reading = Struct.new(:moment, :memory, :peak)

      attr_reader :readings, :commands, :faults

      def initialize(setup, session, site: ManyFiles.new(CACHE))
        @setup = setup
        @session = session
        @site = site
        @connections = (setup.connections || [CONNECTIONS]).max
        @readings = []
        @loads = []
      end

      def run
        @session.prepare(@site, @setup.ruby)
        server = @session.start(Servers::Passenger, @site, @setup)
        @commands = { server.key => server.public_command }
        load(server.url, @setup.warmup) # Connections' buffers and the engine's code are no part of the growth.
        read(server, "before: one file only")
        loaded_rounds(server)
        sleep SETTLE
        read(server, "#{SETTLE} s later")
        server.check
        self
      end

      def name
        "static-memory"
      end

      def title
        TITLE
      end

      def subtitle
        "#{ManyFiles::COUNT} files of #{ManyFiles::LENGTH / 1024} KB asked for at random, #{@connections} keep-alive connections, " \
          "#{@setup.rounds} rounds of #{@setup.duration} s; static_cache_size #{CACHE} MB; the engine's process alone"
      end

      def tables
        rows = readings.map do |reading|
          bytes = [reading.memory.rss, reading.memory.pss, reading.memory.private, reading.peak, growth(reading)]
          [reading.moment, *bytes.map { |count| Units.bytes(count) }]
        end
        Table.new(["when", "RSS", "PSS", "private", "peak RSS so far", "growth of PSS"], rows).to_s
      end

      def details
        rates = Spread.of(@loads.map(&:requests_per_second))
        "Requests per second: #{Units.spread(rates) { |value| Units.count(value) }}. All files together are " \
          "#{Units.bytes(ManyFiles::COUNT * ManyFiles::LENGTH)}. The limit is the cache's size and as much again, since Go by default " \
          "lets the heap double before it collects. *Private* pages belong to this process alone; the peak is the kernel's own mark (VmHWM)."
      end

      def verdicts
        worst = readings.map { |reading| growth(reading) }.max
        met = worst <= (CACHE + ALLOWANCE) * Units::MEBIBYTE
        peak = readings.last.peak - readings.first.memory.rss
        ["#{met ? 'met   ' : 'MISSED'}  growth of the engine's PSS: at most #{Units.bytes(worst)} " \
         "(goal ≤ #{CACHE} MB of cache + #{ALLOWANCE} MB that the Go heap may take before it collects)",
         "        against the cache's size alone: #{format('%+.1f', (worst / Units::MEBIBYTE) - CACHE)} MB; " \
         "growth of RSS up to its peak: #{Units.bytes(peak)}"]
      end

      def plot
        bars = readings.map do |reading|
          Plot::Bar.new(label: reading.moment, spread: Spread.of([reading.memory.pss / Units::MEBIBYTE]), text: Units.bytes(reading.memory.pss),
                        note: "growth #{Units.bytes(growth(reading))}", ours: true)
        end
        Plot.new(title: title, subtitle: subtitle,
                 panels: [Plot::Panel.new(title: "Proportional memory (PSS) of the engine", axis: "MB (shorter is better)", bars: bars)])
      end

      private

      # What the engine has more than before the first round, in bytes.
      def growth(reading)
        reading.memory.pss - readings.first.memory.pss
      end

      def loaded_rounds(server)
        workers = server.workers.map(&:pid).sort
        (1..@setup.rounds).each do |round|
          @loads << load(server.url, @setup.duration, script: SCRIPT, arguments: [ManyFiles::COUNT.to_s])
          read(server, "after round #{round}")
        end
        @faults = @loads.each_with_index.flat_map { |report, index| report.faults.map { |fault| "ERROR: round #{index + 1}: #{fault}" } }
        @faults << "ERROR: application processes were replaced" if server.workers.map(&:pid).sort != workers
      end

      def load(url, seconds, **script)
        Wrk.new(url, connections: @connections, duration: seconds, threads: Contest::LOAD_THREADS, **script).run
      end

      def read(server, moment)
        engine = server.processes.find { |entry| Servers::Passenger.role(entry.title) == :server } or raise Error, "the engine's process is gone"
        reading = Reading.new(moment, ProcessTree.memory(engine.pid), ProcessTree.peak(engine.pid))
        raise Error, "the engine ended while its memory was read" unless reading.memory && reading.peak

        readings << reading
        @session.say format("%-24s RSS %-8s PSS %-8s growth %s", moment, Units.bytes(reading.memory.rss), Units.bytes(reading.memory.pss),
                            Units.bytes(growth(reading)))
      end
    end
  end
end
