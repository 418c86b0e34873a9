# frozen_string_literal: true

# No request waits for a busy process while another one has nothing to do, whichever connection it comes on.
RSpec.describe "Which process a request goes to" do
  # Answers with the number of requests that its process works on, itself included, after a while. It sleeps and does not
  # compute, because a second request in the same process could not say so while the first one has Ruby's lock.
  COUNTING = <<~RUBY
    lock, working = Mutex.new, 0
    run(lambda do |_env|
      now = lock.synchronize { working += 1 }
      sleep 0.003
      lock.synchronize { working -= 1 }
      [200, { "content-type" => "text/plain" }, ["\#{Process.pid} \#{now}"]]
    end)
  RUBY

  def start(app, files = {}, **options)
    start_server(Harness::Apps.directory(app, files), min_instances: 2, max_pool_size: 2, **options).tap do |server|
      eventually("two workers") { server.workers.size == 2 }
    end
  end

  # On each of the kept-alive connections, one request after the other; the bodies of the answers.
  def ask(server, path, connections:, requests:)
    Array.new(connections) do
      Thread.new do
        server.connect do |client|
          Array.new(requests) { client.get(path).tap { |response| raise response.inspect unless response.status == 200 }.body }
        end
      end
    end.flat_map(&:value)
  end

  it "is never the one that is held by another request: all others are served meanwhile" do
    server = start("control")
    gate = new_gate
    slow = hold(gate, server: server)
    busy, = wait_until_entered(gate, server: server)
    pids = ask(server, "/pid", connections: 8, requests: 50).map(&:to_i)
    expect(pids.tally).to eq((server.workers - [busy]).first => 400)
    open_gate(gate, server: server)
    expect(slow.read_response.status).to eq(200)
    server.stop
  ensure
    slow&.close
  end

  it "is one that has nothing to do before one that has, though that has threads to spare" do
    server = start("counting", { "config.ru" => COUNTING }, thread_count: 3)
    answers = ask(server, "/", connections: 2, requests: 500).map(&:split)
    # Two clients, two processes: there is always one that has nothing to do. A process that the machine does not let run for
    # 50 ms counts as one that has been stopped, and this machine may be busy with other things.
    shared = answers.count { |_pid, working| working != "1" }
    expect(shared).to be <= answers.size / 20
    expect(answers.map(&:first).tally.values).to all(be > answers.size / 5)
    server.stop
  end

  it "is any that has a thread to spare, when all have something to do" do
    server = start("control", thread_count: 2)
    gate = new_gate
    clients = Array.new(4) { hold(gate, server: server) }
    expect(wait_until_entered(gate, 4, server: server).tally.values).to eq([2, 2])
    open_gate(gate, server: server)
    expect(clients.map { |client| client.read_response.status }).to eq([200] * 4)
    server.stop
  ensure
    clients&.each(&:close)
  end
end
