# frozen_string_literal: true

require_relative "driver"

RSpec.describe "A worker's own queue" do
  let(:driver) { SlotDriver.new(direct: true) }
  let(:slot) { driver.slot }

  after { driver.finish }

  def ask(path, to: driver.direct)
    driver.request({ "PATH_INFO" => path }, to: to)
  end

  def wait_until
    Timeout.timeout(10) { sleep(0.001) until yield }
  end

  # Serves with each slot of the driver until the queue ends; the values of the threads are the paths they have served.
  def serve
    driver.slots.map do |one|
      Thread.new do
        paths = []
        while (env = one.receive)
          paths << env["PATH_INFO"]
          one.respond(200, {}, [env["PATH_INFO"]])
        end
        paths
      end
    end
  end

  it "is waited for together with the common one" do
    [driver.direct, driver.queue, driver.direct].each_with_index do |queue, number|
      thread = Thread.new { slot.receive }
      wait_until { thread.status == "sleep" }
      ask("/#{number}", to: queue)
      expect(thread.value).to include("PATH_INFO" => "/#{number}")
    end
  end

  it "comes first" do
    ask("/common", to: driver.queue)
    ask("/own")
    expect([slot.receive, slot.receive].map { |env| env["PATH_INFO"] }).to eq(%w[/own /common])
  end

  it "does not keep the requests of the common queue waiting for ever" do
    10.times { ask("/own") }
    ask("/common", to: driver.queue)
    served = Array.new(11) { slot.receive["PATH_INFO"] }
    expect(served.index("/common")).to be_between(1, 5)
  end

  it "leaves the highest sequence number to the common queue" do
    ask("/common", to: driver.queue)
    id = ask("/own")
    expect(slot.receive).to include("PATH_INFO" => "/own")
    expect(driver.record).to include(request_id: id, sequence: 0)
    slot.receive
    expect(driver.record).to include(previous_id: id, sequence: 1)
  end

  it "does not keep the worker from leaving when the common queue ends" do
    thread = Thread.new { slot.receive }
    wait_until { thread.status == "sleep" }
    driver.end_queue
    expect(thread.join(10)&.value).to be_nil
    expect(thread).not_to be_alive
  end

  it "has the worker leave when it ends itself" do
    driver.direct.close
    expect(slot.receive).to be_nil
  end

  it "ends when the worker is told to stop while it waits" do
    thread = Thread.new { slot.receive }
    wait_until { thread.status == "sleep" }
    slot.stop
    thread.wakeup
    expect(thread.join(10)).to be(thread)
    ask("/late")
    expect(slot.receive).to be_nil
  end

  it "can be left by a killed thread without harm to the next one" do
    thread = Thread.new { slot.receive }
    wait_until { thread.status == "sleep" }
    thread.kill.join
    ask("/next")
    expect(slot.receive).to include("PATH_INFO" => "/next")
  end

  describe "with several threads" do
    let(:driver) { SlotDriver.new(slots: 3, direct: true) }

    it "gives each request of both queues to one of them" do
      threads = serve
      wait_until { threads.all? { |thread| thread.status == "sleep" } }
      200.times { |number| ask("/#{number}", to: number.even? ? driver.direct : driver.queue) }
      wait_until { (0..2).sum { |index| driver.record(index)[:finished] } >= 198 }
      driver.end_queue
      expect(threads.flat_map(&:value)).to match_array(Array.new(200) { |number| "/#{number}" })
    end
  end

  # Many workers at one common queue, each with its own; a request must wake one and only one of them.
  describe "beside other workers" do
    let(:workers) { 8 }
    let(:driver) { SlotDriver.new(slots: workers, direct: true, alone: true) }

    # Voluntary context switches of a thread: how often it has gone to sleep
    def sleeps(tid)
      File.read("/proc/self/task/#{tid}/status")[/^voluntary_ctxt_switches:\s*(\d+)/, 1].to_i
    end

    it "wakes one worker for a request" do
      ids = Thread::Queue.new
      threads = driver.slots.map do |one|
        Thread.new do
          ids << Thread.current.native_thread_id
          one.respond(200, {}, []) while one.receive
        end
      end
      numbers = Array.new(workers) { ids.pop }
      wait_until { threads.all? { |thread| thread.status == "sleep" } }
      before = numbers.sum { |number| sleeps(number) }
      100.times do |number|
        ask("/#{number}", to: driver.queue)
        wait_until { (0...workers).sum { |index| driver.record(index)[:finished] } >= number }
      end
      # One for each request, one more for the interpreter's lock; a herd would make 800.
      expect(numbers.sum { |number| sleeps(number) } - before).to be < 400
      driver.end_queue
      threads.each { |thread| expect(thread.join(10)).to be(thread) }
    end
  end
end
