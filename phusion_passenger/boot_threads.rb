# frozen_string_literal: true

module PhusionPassenger
  # Threads that an application has started while it was loaded. No fork has them: what they do does not happen in workers.
  class BootThreads
    # Of names that are reported
    MOST = 20
    # Characters of a name
    LONGEST = 200
    # Ruby's own: the one thread of timeout.rb, which starts a new one after a fork, and those that wait for a child
    # process, which is not forked along.
    OF_RUBY = ->(thread) { thread.name == "Timeout stdlib thread" || thread.is_a?(Process::Waiter) }
    # A housekeeper of concurrent-ruby before 1.2, which comes with every Rails of that time: without it, numbers of
    # thread-local variables that are gone are not used again. Nobody could start it elsewhere.
    HOUSEKEEPER = "/concurrent/atomic/ruby_thread_local_var.rb:"
    # The mark with which libraries (ActiveRecord's connection reaper) say that they cope with a fork
    FORK_SAFE = ->(thread) { thread.thread_variable_get(:fork_safe) }

    # To be made before the application is loaded.
    def initialize
      @before = Thread.list
    end

    # Writes a warning, and returns the names as they are sent to the engine; nil if there are none.
    def report
      threads = (Thread.list - @before).reject { |thread| OF_RUBY.call(thread) || FORK_SAFE.call(thread) || housekeeper?(thread) }
      return if threads.empty?

      Log.write("the application has started #{threads.size == 1 ? "a thread" : "#{threads.size} threads"} while it was " \
                "loaded: #{threads.first(MOST).map { |thread| described(thread) }.join(", ")}. Workers are forked from this " \
                "process and don't have such threads; start them in PhusionPassenger.on_event(:starting_worker_process), or " \
                "choose spawn_method direct")
      threads.first(MOST).map { |thread| name(thread) }.join("\n")
    end

    private

    def housekeeper?(thread) = place(thread).to_s.include?(HOUSEKEEPER)

    def name(thread)
      name = thread.name.to_s.tr("\0\n", "  ").strip
      name.empty? ? described(thread)[0, LONGEST] : Exceptions.utf8(name)[0, LONGEST]
    end

    def described(thread)
      name = thread.name ? "#{thread.name.inspect} " : ""
      "#{name}(#{[thread.class, *place(thread)].join(" ")})"
    end

    # Where it was started: #<Thread:0x0000@name file.rb:12 sleep>
    def place(thread)
      Exceptions.utf8(thread.inspect.sub("@#{thread.name} ", " "))[/\A\S+ (.+:\d+) \w+>\z/m, 1]
    end
  end
end
