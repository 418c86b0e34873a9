# frozen_string_literal: true

RSpec.describe "on a terminal" do
  def on_terminal(server)
    started << server.extend(Harness::Terminal)
    server.start
  end

  def plain_server(**options)
    Harness::PassengerServer.new(Harness::Apps.directory("control"), max_pool_size: 1, **options)
  end

  # Line editing asks the terminal where its cursor is; this one is no emulator and does not answer.
  PLAIN_IRB = "IRB.conf[:USE_MULTILINE] = IRB.conf[:USE_SINGLELINE] = false\n"

  describe "rails server" do
    it "ends with exit code 0 and leaves nothing after Ctrl-C" do
      server = on_terminal(Harness::RailsServer.new(Harness::Bulletin.copy))
      expect(server.get("/").status).to eq(200)
      family = server.processes
      server.type(Harness::Terminal::CTRL_C)
      expect(server.wait.exitstatus).to eq(0)
      server.assert_nothing_left(family)
      expect(server.output.split("^C").last).not_to match(/Interrupt|\.rb:\d+/)
    end

    it "lets a request finish after Ctrl-C" do
      server = on_terminal(Harness::RailsServer.new(Harness::Bulletin.copy))
      client = server.connect.request("GET", "/probe/hold")
      eventually("arrival of the request") { File.exist?(File.join(server.directory, "tmp/entered")) }
      server.type(Harness::Terminal::CTRL_C)
      eventually("end of the listening") { !server.reachable? }
      File.write(File.join(server.directory, "tmp/gate"), "")
      expect(client.read_response.body).to eq("held")
      expect(server.wait.exitstatus).to eq(0)
    ensure
      client&.close
    end

    it "has a console at binding.irb in the middle of a request" do
      directory = Harness::Bulletin.copy(".irbrc" => PLAIN_IRB)
      server = on_terminal(Harness::RailsServer.new(directory, environment: { "IRBRC" => File.join(directory, ".irbrc") }))
      client = server.connect(within: 40).request("GET", "/probe/irb")
      eventually("the prompt of irb") { server.output.match?(/irb\(|>> /) }
      server.type("answer = 6 * 7\n")
      eventually("irb's answer") { server.output.include?("=> 42") }
      server.type("exit\n")
      expect(client.read_response.body).to eq("answer 42")
      expect(server.get("/probe/pid").status).to eq(200)
      server.type(Harness::Terminal::CTRL_C)
      expect(server.wait.exitstatus).to eq(0)
    ensure
      client&.close
    end
  end

  describe "passenger start" do
    it "ends with exit code 0 and leaves nothing after Ctrl-C" do
      server = on_terminal(plain_server)
      gate = new_gate
      client = hold(gate, server: server)
      wait_until_entered(gate, server: server)
      family = server.processes
      server.type(Harness::Terminal::CTRL_C)
      eventually("end of the listening") { !server.reachable? }
      open_gate(gate, server: server)
      expect(client.read_response.status).to eq(200)
      expect(server.wait.exitstatus).to eq(0)
      server.assert_nothing_left(family)
    ensure
      client&.close
    end

    it "uses colours, unless NO_COLOR is set" do
      coloured = on_terminal(plain_server(environment: { "TERM" => "xterm" }))
      eventually("the URL") { coloured.output.include?("http://127.0.0.1") }
      expect(coloured.output).to include("\e[")
      plain = on_terminal(plain_server(environment: { "TERM" => "xterm", "NO_COLOR" => "1" }))
      eventually("the URL") { plain.output.include?("http://127.0.0.1") }
      expect(plain.output).not_to include("\e[")
      [coloured, plain].each(&:stop)
    end

    it "ends when the terminal is closed" do
      server = on_terminal(plain_server)
      family = server.processes
      server.hang_up_now
      expect(server.wait.exitstatus).to eq(0)
      server.assert_nothing_left(family)
    end
  end
end
