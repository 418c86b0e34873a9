# frozen_string_literal: true

require_relative "cable_client/locator"
require_relative "cable_client/mailbox"
require_relative "cable_client/publisher"

module PhusionPassenger
  # A process' side of the broker for Action Cable (see docs/action-cable.md): a connection for its subscriptions and one for
  # what it publishes, made when they are needed first, made anew when they have ended, and never shared with a process that is
  # forked from this one. Any thread may call.
  class CableClient
    # Seconds between attempts to connect again: from the first to the second, and at most
    FIRST_PAUSE = 0.1
    LONGEST_PAUSE = 5.0
    # Seconds to wait for a thread of its own to end
    GOODBYE = 5
    # Subscriptions that are written at a time
    SLICE = 500

    # A channel with subscribers in this process. subscribers is replaced, never changed, when one comes or goes. number: of
    # the frame that has subscribed to it, nil once that has been acknowledged. waiting: who is to be told then.
    Channel = Struct.new(:subscribers, :number, :waiting, :mailbox)

    # logger: a Logger, or nil. The block has what it is given (a Proc) called in another thread.
    def initialize(logger: nil, locator: nil, &run)
      @logger = logger
      @locator = locator
      @run = run
      begin_anew
    end

    # Passes a message to the subscribers of a channel in all processes. Returns when the broker has it. Raises Error.
    def publish(channel, message)
      channel, message = binary(channel), binary(message)
      check_size(channel, message)
      own_process
      @publisher.publish(channel, message)
    end

    # Has the callback called, with one String, for every message on the channel. on_success is called when no message that
    # is published from then on will be missed. While there is no connection the subscription waits for one.
    def subscribe(channel, callback, on_success = nil)
      channel = binary(channel)
      check_size(channel, "")
      own_process
      @commands.synchronize do
        return if @closed

        fresh = add(channel, callback, on_success)
        if @connection.nil?
          connect # which subscribes to all channels
        elsif fresh
          send_subscriptions(@connection, [channel])
        end
      end
    rescue Unavailable => e
      complain(e)
      keep_trying
    end

    def unsubscribe(channel, callback)
      channel = binary(channel)
      own_process
      @commands.synchronize do
        connection = @connection if remove(channel, callback)
        connection&.write(Frames.encode(Frames::UNSUBSCRIBE, 0, channel))
      rescue Lost
        lose(connection)
      end
      nil
    end

    # Ends the connection and forgets all subscriptions.
    def close
      own_process
      @backlog.end
      connection, keeper = @commands.synchronize do
        @table.synchronize do
          @closed = true
          @ended.broadcast
          @channels = {}
          [@connection, @keeper].tap { @connection = nil }
        end
      end
      @publisher.close
      connection&.close
      [@listener, keeper].each { |thread| wait_for(thread) }
      nil
    end

    private

    def begin_anew
      @pid = Process.pid
      # Held by whoever connects, subscribes or unsubscribes: the broker gets these in the order in which they change the table.
      @commands = Mutex.new
      # Held for moments only: by the thread that listens, too, which must never wait for one that writes.
      @table = Mutex.new
      @channels = {} # name => Channel
      @asked = {}    # number of a frame => name of the channel that it subscribes to
      @number = 0
      @backlog = Mailbox::Backlog.new
      @publisher = Publisher.new(-> { locator })
      @connection = @listener = @keeper = nil
      @ended = ConditionVariable.new
      @closed = @lost = @complained = false
    end

    # In a process that was forked from the one that has made this object, nothing of it is of use: the connection is the
    # other's, its threads don't exist here, and its subscribers are connections of clients that the other serves.
    def own_process
      return if @pid == Process.pid

      inherited = [@connection, @publisher]
      begin_anew
      inherited.each { |one| one&.abandon }
    end

    # nil when the client is closed
    def connected = @connection || @commands.synchronize { @connection || (connect unless @closed) }

    # To be called by who holds @commands.
    def connect
      # What has come on the old connection is handed out before what comes on the new one.
      wait_for(@listener)
      connection = locator.connect
      @connection = connection
      @listener = thread("listener") { listen(connection) }
      @logger&.info("Action Cable is connected to the server again; messages may have been missed in between") if @lost
      @lost = @complained = false
      send_subscriptions(connection, @table.synchronize { @channels.keys })
      connection
    end

    def locator = @locator || Locator.new

    # true if the channel is new. Who comes later is told when the channel is subscribed to, not earlier.
    def add(name, callback, on_success)
      entry, fresh, confirmed = @table.synchronize do
        fresh = !@channels.key?(name)
        entry = @channels[name] ||= new_channel
        entry.subscribers = [*entry.subscribers, callback].freeze
        entry.waiting << on_success if on_success && entry.number
        [entry, fresh, entry.number.nil?]
      end
      later(entry, on_success) if on_success && confirmed
      fresh
    end

    # true if it was the last subscriber of the channel
    def remove(name, callback)
      @table.synchronize do
        entry = @channels[name] or return false
        entry.subscribers = entry.subscribers.reject { |subscriber| subscriber.equal?(callback) }.freeze
        next false unless entry.subscribers.empty?

        @channels.delete(name)
        true
      end
    end

    def new_channel
      entry = Channel.new([].freeze, 0, [])
      deliver = lambda do |message|
        entry.subscribers.each { |subscriber| guarded { subscriber.call(message) } }
      end
      entry.mailbox = Mailbox.new(@backlog, @run, deliver)
      entry
    end

    # After the messages that have come before
    def later(entry, on_success) = guarded { entry.mailbox.push(-> { guarded(&on_success) }) }

    def guarded
      yield
    rescue StandardError, ScriptError => e
      @logger&.error("what was to be done for a subscriber of an Action Cable channel raised #{e.class}: #{e.message}\n  #{Array(e.backtrace).join("\n  ")}")
    end

    def next_number = @number = @number % 0xffff_ffff + 1

    def send_subscriptions(connection, names)
      names.each_slice(SLICE) do |slice|
        frames = @table.synchronize do
          slice.filter_map do |name|
            entry = @channels[name] or next
            entry.number = next_number
            @asked[entry.number] = name
            Frames.encode(Frames::SUBSCRIBE, entry.number, name)
          end
        end
        connection.write(frames.join)
      end
    rescue Lost
      lose(connection)
    end

    def listen(connection)
      connection.listen do |kind, number, channel, message|
        receive(kind, number, channel, message) if @connection.equal?(connection)
      end
    rescue Error => e
      @logger&.error("Action Cable: #{e.message}")
    ensure
      lose(connection)
    end

    def receive(kind, number, channel, message)
      case kind
      when Frames::MESSAGE
        entry = @table.synchronize { @channels[channel] }
        guarded { entry.mailbox.push(message.force_encoding(Encoding::UTF_8)) } if entry
      when Frames::DONE then confirmed(number)
      when Frames::FAILURE
        @table.synchronize { @asked.delete(number) } # nobody is told that it has succeeded
        @logger&.error("Action Cable: #{message.force_encoding(Encoding::UTF_8).scrub}")
      end
    end

    # The channel that this frame has subscribed to has everything from now on, if nothing has changed since.
    def confirmed(number)
      entry, waiting = @table.synchronize do
        entry = @channels[@asked.delete(number)]
        next unless entry && entry.number == number

        entry.number = nil
        [entry, entry.waiting.slice!(0..)]
      end
      waiting&.each { |on_success| later(entry, on_success) }
    end

    # A connection has ended. Whoever notices it first says so.
    def lose(connection)
      return if connection.nil?

      connection.close
      wanted = @table.synchronize do
        return unless @connection.equal?(connection)

        @connection = nil
        @lost = true
        @asked.clear
        @channels.each_value { |entry| entry.number ||= 0 } # nobody is subscribed now
        !@channels.empty? && !@closed
      end
      return unless wanted

      @logger&.warn("Action Cable's connection to the server has ended; it is made anew, and messages are missed until then")
      keep_trying
    end

    # Connects in the background, until there is a connection or nobody needs one.
    def keep_trying
      @table.synchronize do
        return if @closed || @connection || @keeper&.alive?

        @keeper = thread("keeper") { retry_connecting }
      end
    end

    def retry_connecting
      pause = FIRST_PAUSE
      loop do
        # Not all processes at the same moment
        break if @table.synchronize { needless_to_try?(pause * (0.5 + rand / 2)) }

        pause = [pause * 2, LONGEST_PAUSE].min
        begin
          connected
        rescue Unavailable => e
          complain(e)
        end
      end
    end

    # After so many seconds, or when the client is closed. Says so under the lock under which a lost connection looks for
    # somebody to make it anew.
    def needless_to_try?(seconds)
      @ended.wait(@table, seconds) unless @closed
      needless = @closed || !@connection.nil? || @channels.empty?
      @keeper = nil if needless
      needless
    end

    def wait_for(thread)
      thread.join(GOODBYE) if thread && thread != Thread.current
    end

    # Once until there has been a connection
    def complain(error)
      return if @complained

      @complained = true
      @logger ? @logger.error(error.message) : warn(error.message)
    end

    def thread(name, &block)
      Thread.new do
        block.call
      rescue StandardError => e
        @logger&.error("Action Cable's #{name} failed: #{e.class}: #{e.message}\n  #{Array(e.backtrace).join("\n  ")}")
      end.tap { |thread| thread.name = "passenger cable #{name}" }
    end

    def binary(text) = String(text).b

    def check_size(channel, message)
      raise ArgumentError, "the name of an Action Cable channel is empty" if channel.empty?

      { "the name of the channel" => [channel, Frames::MAX_CHANNEL], "a message" => [message, Frames::MAX_MESSAGE] }.each do |what, (text, limit)|
        next if text.bytesize <= limit

        raise TooLarge, "#{what} has #{text.bytesize} bytes; Action Cable's adapter passenger passes on at most #{limit} " \
                        "(channel #{channel[0, 100].force_encoding(Encoding::UTF_8).scrub.inspect})"
      end
    end
  end
end
