# frozen_string_literal: true

require_relative "driver"

# Two workers of two slots each, as threads of this process: 0 and 1 belong to the first, 2 and 3 to the second.
RSpec.describe "Which worker takes a request" do
  let(:driver) { SlotDriver.new(slots: 2, workers: 2) }
  let(:taken) { Thread::Queue.new }
  let(:gates) { Array.new(4) { Thread::Queue.new } }

  after do
    @threads.each(&:kill).each(&:join)
    driver.finish
  end

  # Each slot says which request it has taken, and waits at its gate before it answers.
  def serve
    @threads = driver.slots.each_with_index.map do |slot, index|
      Thread.new do
        while slot.receive
          taken << [index, slot.request_id]
          gates[index].pop
          slot.respond(200, {}, [])
        end
      end
    end
    wait_for("all to wait") { @threads.all? { |thread| thread.status == "sleep" } }
  end

  def wait_for(what)
    Timeout.timeout(10) { sleep(0.001) until yield }
  rescue Timeout::Error
    raise "waited in vain for #{what}"
  end

  def next_taken = Timeout.timeout(10) { taken.pop }

  # The slot that takes the next request
  def send_one
    id = driver.request
    slot, request = next_taken
    expect(request).to eq(id)
    slot
  end

  # Finishes the request of a slot, and waits until that shows.
  def finish(slot)
    gates[slot] << :go
    driver.frame(slot)
    wait_for("the end of the request") { driver.record(slot)[:state] == 1 }
  end

  def worker_of(slot) = slot / 2

  it "is one that has nothing to do, every time" do
    serve
    busy = send_one
    takers = Array.new(100) do
      slot = send_one
      finish(slot)
      worker_of(slot)
    end
    expect(takers.tally).to eq({ 1 - worker_of(busy) => 100 })
    gates[busy] << :go
  end

  it "is any that has a free thread, when all have something to do" do
    serve
    slots = Array.new(4) { send_one }
    expect(slots.first(2).map { |slot| worker_of(slot) }).to contain_exactly(0, 1)
    expect(slots).to contain_exactly(0, 1, 2, 3)
    slots.each { |slot| gates[slot] << :go }
  end

  it "is not one that is leaving or pauses: a busy one does not wait for it" do
    serve
    busy = send_one
    other = 1 - worker_of(busy)
    driver.slots.zip(@threads).each_slice(2).to_a[other].each { |slot, thread| slot.pause(thread) }
    wait_for("the pause") { @threads.each_slice(2).to_a[other].none?(&:alive?) }
    second = send_one
    expect(worker_of(second)).to eq(worker_of(busy))
    [busy, second].each { |slot| gates[slot] << :go }
  end

  it "is a busy one after a moment, when the idle one does not move" do
    serve
    busy = send_one
    others = @threads.each_slice(2).to_a[1 - worker_of(busy)]
    others.each(&:kill).each(&:join) # as if somebody had stopped that process: it still counts as present
    second = send_one
    expect(worker_of(second)).to eq(worker_of(busy))
    [busy, second].each { |slot| gates[slot] << :go }
  end
end
