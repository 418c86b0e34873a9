# frozen_string_literal: true

require_relative "driver"

RSpec.describe "Receiving requests" do
  include_context "with a slot"

  def wait_until(what = "the condition")
    Timeout.timeout(10) { sleep(0.001) until yield }
  rescue Timeout::Error
    raise "#{what} has not come true"
  end

  # Asleep in a system call without the GVL
  def wait_until_blocked(thread)
    wait_until("waiting in receive") { thread.status == "sleep" }
  end

  it "waits for a request" do
    thread = Thread.new { slot.receive }
    wait_until_blocked(thread)
    driver.request({ "PATH_INFO" => "/later" })
    expect(thread.value).to include("PATH_INFO" => "/later")
  end

  # Ruby would take the GVL from the thread only every 100 ms.
  it "lets other threads run when one request follows the other" do
    100.times { driver.request }
    turns = 0
    other = Thread.new do
      loop do
        turns += 1
        Thread.pass
      end
    end
    Thread.new do
      100.times do
        slot.receive
        busy_until = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 0.002
        nil until Process.clock_gettime(Process::CLOCK_MONOTONIC) > busy_until
        slot.respond(200, {}, [])
      end
    end.join
    expect(turns).to be >= 15
  ensure
    other.kill
  end

  it "ends with the queue, after what is still in it" do
    driver.request({ "PATH_INFO" => "/last" })
    driver.end_queue
    expect(slot.receive).to include("PATH_INFO" => "/last")
    slot.respond(200, {}, [])
    expect(slot.receive).to be_nil
  end

  it "ends when the queue does while it waits" do
    thread = Thread.new { slot.receive }
    wait_until_blocked(thread)
    driver.end_queue
    # The thread's own descriptor is the last that is open.
    expect(thread.value).to be_nil
  end

  it "ends when it is told to stop while it waits" do
    thread = Thread.new { slot.receive }
    wait_until_blocked(thread)
    slot.stop
    thread.wakeup
    expect(thread.join(5)&.value).to be_nil
    expect(thread).not_to be_alive
  end

  it "takes nothing any more after stop" do
    slot.stop
    driver.request
    expect(slot.receive).to be_nil
  end

  it "gives false while it is paused, also if it waits already, and takes nothing off the queue" do
    thread = Thread.new { slot.receive }
    wait_until_blocked(thread)
    slot.pause(thread)
    expect(thread.join(5)&.value).to be(false)
    driver.request({ "PATH_INFO" => "/next" })
    expect(slot.receive).to be(false)
    slot.resume
    expect(slot.receive).to include("PATH_INFO" => "/next")
  end

  it "wakes only a thread that waits for a request" do
    asleep = Thread.new { sleep }
    wait_until_blocked(asleep)
    slot.pause(asleep)
    slot.stop(asleep)
    expect(asleep.join(0.05)).to be_nil
    expect(slot.receive).to be_nil
  ensure
    asleep&.kill
  end

  it "does not mind threads that have ended" do
    slot.pause(Thread.new {}.join)
    expect(slot.receive).to be(false)
  end

  it "can be killed while it waits, without harm to the next one" do
    thread = Thread.new { slot.receive }
    wait_until_blocked(thread)
    thread.kill.join
    driver.request({ "PATH_INFO" => "/next" })
    expect(slot.receive).to include("PATH_INFO" => "/next")
  end

  it "loses no request to interrupts" do
    sent = 0
    received = []
    reader = Thread.handle_interrupt(RuntimeError => :never) do # inherited by the thread
      Thread.new do
        Thread.current.report_on_exception = false
        while (env = slot.receive)
          received << env["PATH_INFO"]
        end
      end
    end
    disturbances = 0
    disturber = Thread.new do
      while reader.alive?
        reader.wakeup
        reader.raise(RuntimeError, "disturbance")
        disturbances += 1
        Thread.pass
      end
    rescue ThreadError
      nil # the reader has ended
    end
    writer = Thread.new do
      until sent >= 2_000 && disturbances > 100
        driver.request({ "PATH_INFO" => "/#{sent}" })
        sent += 1
      end
      driver.end_queue
    end
    [writer, reader, disturber].each { |thread| thread.join(60) or raise "#{thread} is stuck" }
    expect(received).to eq(Array.new(sent) { |number| "/#{number}" })
  end

  it "stops in time, however often it is tried" do
    300.times do
      one = SlotDriver.new
      thread = Thread.new { one.slot.receive }
      Thread.pass if rand < 0.5
      one.slot.stop
      thread.wakeup if thread.alive?
    rescue ThreadError
      nil # the thread has ended between the two calls
    ensure
      expect(thread.join(5)).to be(thread), "a thread waits on although it was stopped"
      one.finish
    end
  end

  it "hears in time that it is to stop, and wakes for that by itself, however often it is tried" do
    300.times do
      one = SlotDriver.new
      thread = Thread.new { one.slot.receive }
      Thread.pass if rand < 0.5
      one.slot.stop(thread)
      expect(thread.join(5)).to be(thread), "a thread waits on although it was stopped"
    ensure
      one.finish
    end
  end

  describe "the scoreboard" do
    it "shows an idle slot before the first request" do
      slot
      expect(driver.record).to include(state: 1, pid: Process.pid, request_id: 0, finished: 0, sequence: 0)
    end

    it "shows the request in work from its receipt to the next receive" do
      id = driver.request
      before = Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
      slot.receive
      after = Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
      expect(driver.record).to include(state: 2, request_id: id, sequence: 1, finished: 0)
      expect(driver.record[:started_at]).to be_between(before, after)

      slot.respond(200, {}, [])
      expect(driver.record[:state]).to eq(2)
      driver.end_queue
      slot.receive
      expect(driver.record).to include(state: 1, request_id: id, sequence: 1, finished: 1)
    end

    it "keeps when the request before was taken" do
      first = driver.request
      slot.receive
      started_at = driver.record[:started_at]
      driver.request
      slot.receive
      expect(driver.record).to include(previous_id: first, previous_started_at: started_at)
    end

    it "is written even for a message that can't be understood" do
      driver.put([9, 1, 0, 0, 0, 77 << 24, 0, 0].pack("CCCCVQ<Q<Q<"))
      expect { slot.receive }.to raise_error(PhusionPassenger::Native::ProtocolError)
      expect(driver.record).to include(state: 2, request_id: 77 << 24, sequence: 77)
    end

    it "refuses a slot that is not on it" do
      expect { PhusionPassenger::Native::Slot.new(0, 0, PhusionPassenger::Native::Scoreboard.new(board.fileno), 3, {}, nil, nil) }
        .to raise_error(PhusionPassenger::Native::ProtocolError, /record 3 is not on the scoreboard/)
    end

    def board
      @board ||= Tempfile.new("board").tap { |file| file.truncate(64) }
    end
  end

  describe "with several threads" do
    let(:driver) { SlotDriver.new(slots: 3) }

    def start
      driver.slots.map do |one|
        Thread.new do
          paths = []
          while (env = one.receive)
            paths << env["PATH_INFO"]
            yield env if block_given?
            one.respond(200, {}, [env["PATH_INFO"]])
          end
          paths
        end
      end
    end

    it "gives each request to one of them" do
      threads = start { Thread.pass }
      300.times { |number| driver.request({ "PATH_INFO" => "/#{number}" }) }
      driver.end_queue
      expect(threads.flat_map(&:value)).to match_array(Array.new(300) { |number| "/#{number}" })
    end

    it "lets one wait for requests while the others work" do
      gate = Thread::Queue.new
      entered = Thread::Queue.new
      threads = start do |env|
        entered << env["PATH_INFO"]
        gate.pop
      end
      3.times { |number| driver.request({ "PATH_INFO" => "/#{number}" }) }
      expect(Array.new(3) { Timeout.timeout(5) { entered.pop } }).to match_array(%w[/0 /1 /2])
      3.times { gate << true }
      driver.end_queue
      expect(threads.flat_map(&:value).size).to eq(3)
    end

    it "passes the turn on when the waiting thread is killed" do
      threads = start
      threads.each { |thread| wait_until_blocked(thread) }
      victims = threads.first(2).each(&:kill)
      victims.each(&:join)
      driver.request({ "PATH_INFO" => "/still" })
      driver.end_queue
      expect(threads.last.value).to eq(["/still"])
    end

    it "stops all of them" do
      threads = start
      threads.each { |thread| wait_until_blocked(thread) }
      driver.slots.each(&:stop)
      threads.each(&:wakeup)
      threads.each { |thread| expect(thread.join(5)).to be(thread) }
    end
  end
end
