# frozen_string_literal: true

module Bench
  module Pool
    # What is lost when application processes are killed: nothing but the requests that they were working on.
    class Kills < Part
      TITLE = "Application processes killed under load"
      ABOUT = "`kill -9` of an application process chosen at random, again and again, under a constant load."
      PROCESSES = 4
      THREADS = 2
      PER_SECOND = 2
      # After the last kill, in seconds.
      GOAL = 2
      # The same victims in every run that is otherwise the same.
      SEED = 4

      def run
        app = prepared(Site.new("kills"))
        @server = start(Servers::Passenger, app, processes: PROCESSES, threads: THREADS)
        @admin = Admin.new(@server)
        @outcomes = Load.during(@server, Steady::GROUPS) { kill_and_wait }
        Steady.tell(@session, @outcomes)
        @orphans = orphans
        @left = @server.stop
        say "#{@killed.size} killed; failed: #{Outcome.sum(@outcomes.values).failures_in_words}; whole again after #{Units.seconds(@whole)}"
        self
      end

      def tables
        all = Outcome.sum(@outcomes.values)
        rows = [["processes killed (#{PER_SECOND} per second)", @killed.size], ["requests answered", all.answered],
                ["requests failed", all.failures_in_words], ["most that may fail (kills × threads)", most],
                ["connections closed between requests", all.closed], ["longest request", Units.seconds(all.max)],
                ["pool whole again after the last kill", Units.seconds(@whole)],
                ["processes without a parent", @orphans.size], ["processes left when the server had stopped", @left.size]]
        Table.new(["#{PROCESSES} processes × #{THREADS} threads, #{Steady::CONNECTIONS} connections", "in this run"], rows).to_s
      end

      def verdicts
        failed = Outcome.sum(@outcomes.values).failed
        [Verdict.new(failed <= most, "#{times(failed, 'failed request')} with #{@killed.size} kills (goal ≤ #{most})"),
         Verdict.new(@whole <= GOAL, "pool whole again #{Units.seconds(@whole)} after the last kill (goal ≤ #{GOAL} s)"),
         Verdict.new((@orphans + @left).empty?, "orphaned: #{(@orphans + @left).empty? ? 'nothing' : (@orphans + @left).join(', ')} (goal nothing)")]
      end

      def panels
        []
      end

      private

      def most
        @killed.size * THREADS
      end

      def kill_and_wait
        random = Random.new(SEED)
        @killed = []
        began = Clock.now
        (@setup.kill_duration * PER_SECOND).times do |number|
          sleep [began + (number.fdiv(PER_SECOND)) - Clock.now, 0].max
          kill_one(random)
        end
        last = Clock.now
        @admin.wait_for("#{PROCESSES} living processes", every: 0.01) { |status| whole?(status) }
        @whole = Clock.now - last
      end

      # A process may end by itself in between; then another one is taken.
      def kill_one(random)
        loop do
          victim = @server.workers.map(&:pid).sort.sample(random: random)
          unless victim
            sleep 0.01 # All are dead at this moment.
            next
          end
          Process.kill(:KILL, victim)
          return @killed << victim
        rescue Errno::ESRCH
          next
        end
      end

      def whole?(status)
        ready = @admin.ready(status).map { |worker| worker.fetch("pid") }
        ready.size == PROCESSES && (ready - @server.workers.map(&:pid)).empty?
      end

      # Processes that have lost their parent are the keeper's children, as the server itself is.
      def orphans
        @server.orphans.map { |entry| "#{entry.title} (pid #{entry.pid})" }
      end
    end
  end
end
