# frozen_string_literal: true

require "socket"

RSpec.describe "the life of a server" do
  def control(**options)
    start_server(Harness::Apps.directory("control"), **options)
  end

  def files_left(server)
    Dir.children(server.directory) - %w[config.ru tmp public server.log] - Dir.children(server.directory).grep(/\A(gate|entered)-/)
  end

  %i[TERM INT].each do |signal|
    describe "ended by #{signal}" do
      it "lets requests in flight finish, then exits with 0 and leaves nothing" do
        server = control(max_pool_size: 2, min_instances: 2)
        gate = new_gate
        clients = [hold(gate, server: server), hold(gate, server: server, path: "/hold-body")]
        wait_until_entered(gate, 2, server: server)
        family = server.processes
        server.signal(signal)
        eventually("end of the listening") { !server.reachable? }
        open_gate(gate, server: server)
        expect(clients[0].read_response).to have_attributes(status: 200, body: /\Aheld by/)
        expect(clients[1].read_response).to have_attributes(status: 200, body: "begun and finished")
        expect(server.wait.exitstatus).to eq(0)
        server.assert_nothing_left(family)
        expect(files_left(server)).to eq([])
      ensure
        clients&.each(&:close)
      end
    end
  end

  it "lets a response that is being read slowly finish" do
    server = control(max_pool_size: 1)
    client = server.connect(receive_buffer: 4096)
    client.request("GET", "/blob?size=8000000")
    client.read_status_line
    server.signal(:TERM)
    eventually("end of the listening") { !server.reachable? }
    client.read_headers
    expect(client.read_exactly(8_000_000).bytesize).to eq(8_000_000)
    expect(server.wait.exitstatus).to eq(0)
  ensure
    client&.close
  end

  it "lets an upload finish that has begun" do
    server = control(max_pool_size: 1)
    client = server.connect
    client.write("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n", "x" * 200_000)
    # Answered by the same loop that reads the upload: by now that has begun.
    server.get("/pid")
    server.signal(:TERM)
    eventually("end of the listening") { !server.reachable? }
    client.write("x" * 100_000)
    expect(client.read_response.body).to eq("300000")
    expect(server.wait.exitstatus).to eq(0)
  ensure
    client&.close
  end

  it "does not wait for connections without a request" do
    server = control(max_pool_size: 1, shutdown_timeout: 300)
    clients = Array.new(3) { server.connect }
    clients[0].get("/pid")
    clients[1].write("GET /never HTTP/1.1\r\nHost: ")
    server.signal(:TERM)
    expect(server.wait(within: 15).exitstatus).to eq(0)
    expect(clients[0].ended?).to be(true)
  ensure
    clients&.each(&:close)
  end

  it "ends at once after a second signal, whatever is in flight" do
    server = control(max_pool_size: 1)
    gate = new_gate
    client = hold(gate, server: server)
    wait_until_entered(gate, server: server)
    family = server.processes
    server.signal(:TERM)
    eventually("end of the listening") { !server.reachable? }
    server.signal(:TERM)
    expect(server.wait).to have_attributes(exited?: true)
    server.assert_nothing_left(family)
    expect { raise Harness::HTTPClient::ConnectionEnded if client.read_response.status >= 500 }
      .to raise_error(Harness::HTTPClient::ConnectionEnded)
    expect(files_left(server)).to eq([])
  ensure
    client&.close
  end

  it "ends requests that take longer than --shutdown-timeout, with exit code 0" do
    server = control(max_pool_size: 1, shutdown_timeout: 1)
    gate = new_gate
    client = hold(gate, server: server)
    wait_until_entered(gate, server: server)
    family = server.processes
    server.signal(:TERM)
    expect(server.wait.exitstatus).to eq(0)
    server.assert_nothing_left(family)
  ensure
    client&.close
  end

  it "serves requests without an error while it stops under load" do
    server = control(max_pool_size: 2)
    outcomes = Harness::Load.during(server) do |load|
      load.wait_for(200)
      server.signal(:TERM)
      eventually("end of the load") { load.ended? }
    end
    expect(outcomes.map(&:kind).uniq - [200, :refused, :cut]).to eq([])
    # A connection may be closed between two requests; one that has been sent completely is answered.
    cut = outcomes.select { |outcome| outcome.kind == :cut }
    expect(cut.map(&:detail)).to all(match(/in the middle of ""|while connecting|stopped reading/))
    expect(server.wait.exitstatus).to eq(0)
  end

  describe "on a Unix socket" do
    it "takes over the file that a dead server has left" do
      directory = Harness::Apps.directory("control")
      path = File.join(directory, "web.sock")
      UNIXServer.new(path).close
      server = start_server(directory, socket: path, max_pool_size: 1)
      expect(server.get("/pid").status).to eq(200)
      server.stop
      expect(File.exist?(path)).to be(false)
    end

    it "does not take the place of a server that lives" do
      first = control(socket: File.join(Harness::Suite.new_directory("socket"), "web.sock"), max_pool_size: 1)
      second = Harness::PassengerServer.command("start", "--socket", first.address)
      result = run_command(second, directory: Harness::Apps.hello)
      expect(result).to be_one_line_error.naming(first.address)
      expect(first.get("/pid").status).to eq(200)
      first.stop
    end

    it "does not delete a file that is no socket" do
      directory = Harness::Apps.hello
      path = Harness::Apps.write(directory, "precious", "data")
      result = run_command(Harness::PassengerServer.command("start", "--socket", path), directory: directory)
      expect(result).to be_one_line_error.naming(path)
      expect(File.read(path)).to eq("data")
    end
  end

  describe "the pid file" do
    it "holds the server's process id while it runs" do
      server = control(max_pool_size: 1)
      expect(File.read(server.pid_path).to_i).to eq(server.pid)
      server.stop
      expect(File.exist?(server.pid_path)).to be(false)
    end

    it "keeps a second server from starting" do
      first = control(max_pool_size: 1)
      result = run_command(Harness::PassengerServer.command("start", "--pid-file", first.pid_path, "--address", "127.0.0.1",
                                                            "--port", Harness::Server.free_port), directory: Harness::Apps.hello)
      expect(result).to be_one_line_error.naming(first.pid.to_s)
      expect(File.read(first.pid_path).to_i).to eq(first.pid)
      first.stop
    end

    it "of a server that has died is taken over" do
      directory = Harness::Apps.hello
      dead = Process.spawn("true").tap { |pid| Process.wait(pid) }
      path = Harness::Apps.write(directory, "old.pid", "#{dead}\n")
      server = start_server(directory, pid_file: path, max_pool_size: 1)
      expect(File.read(path).to_i).to eq(server.pid)
      server.stop
    end
  end

  describe "its processes" do
    serve "control", max_pool_size: 2, min_instances: 2

    before { eventually("two workers") { server.workers.size == 2 } }

    it "tell in their titles what they are and which application they run" do
      titles = server.processes.map { |pid| Harness::ProcFS.title(pid) }
      expect(Harness::ProcFS.title(server.pid)).to match(/\APassenger server: /)
      expect(titles.grep(/\APassenger AppPreloader: #{Regexp.escape(server.directory)}/).size).to eq(1)
      expect(titles.grep(/\APassenger RubyApp: #{Regexp.escape(server.directory)}/).size).to eq(2)
      expect(titles.size).to eq(3)
    end

    it "have the engine loaded in the server alone" do
      engine = /libpassenger/
      expect(Harness::ProcFS.maps(server.pid).grep(engine)).not_to be_empty
      server.processes.each { |pid| expect(Harness::ProcFS.maps(pid).grep(engine)).to eq([]) }
    end

    it "hold no socket of the listener except in the server" do
      listening = server.connect { |client| [client, Harness::ProcFS.descriptors(server.pid)] }.last.values.grep(/socket:/)
      inodes = File.readlines("/proc/net/tcp").drop(1).map(&:split)
                   .select { |row| row[3] == "0A" && row[1].end_with?(format(":%04X", server.port)) }.map { |row| "socket:[#{row[9]}]" }
      expect(inodes & listening).not_to be_empty
      server.processes.each { |pid| expect(Harness::ProcFS.descriptors(pid).values & inodes).to eq([]) }
    end
  end

  describe "its size" do
    it "grows to --max-pool-size when requests need it, one worker for each" do
      server = control(max_pool_size: 3, min_instances: 1)
      gate = new_gate
      clients = Array.new(3) { hold(gate, server: server) }
      expect(wait_until_entered(gate, 3, server: server).uniq.size).to eq(3)
      waiting = hold(gate, server: server)
      open_gate(gate, server: server)
      expect([*clients, waiting].map { |client| client.read_response.status }).to all(eq(200))
      expect(server.workers.size).to eq(3)
      server.stop
    ensure
      [*clients, waiting].compact.each(&:close)
    end

    it "is --min-instances from the start" do
      server = control(max_pool_size: 4, min_instances: 3)
      eventually("three workers") { server.workers.size == 3 }
      server.stop
    end

    it "is --thread-count requests at once in each worker" do
      server = control(max_pool_size: 1, thread_count: 3)
      gate = new_gate
      clients = Array.new(3) { hold(gate, server: server) }
      expect(wait_until_entered(gate, 3, server: server).uniq.size).to eq(1)
      open_gate(gate, server: server)
      expect(clients.map { |client| client.read_response.status }).to all(eq(200))
      server.stop
    ensure
      clients&.each(&:close)
    end

    it "prefers an idle process to a second thread of a busy one" do
      server = control(max_pool_size: 2, min_instances: 2, thread_count: 2)
      eventually("two workers") { server.workers.size == 2 }
      5.times do
        gate = new_gate
        clients = [hold(gate, server: server)]
        wait_until_entered(gate, 1, server: server)
        clients << hold(gate, server: server)
        expect(wait_until_entered(gate, 2, server: server).uniq.size).to eq(2)
        open_gate(gate, server: server)
        clients.each { |client| client.read_response && client.close }
      end
      server.stop
    end
  end
end
