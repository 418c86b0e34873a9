# frozen_string_literal: true

# The proofs of the other specs are worth as much as the tools that make them: these show that the tools can say no.
RSpec.describe "the tools of these specs" do
  describe "the search for leftovers" do
    def leftovers
      Harness::Suite.leftovers
    end

    it "finds an orphaned process by its descent, also when its environment has been overwritten" do
      reader, writer = IO.pipe
      parent = Process.spawn(Harness::Suite.environment, "ruby", "-e", <<~RUBY, out: writer)
        puts fork { $0 = "renamed " * 200; $stdout.reopen(File::NULL); sleep }
      RUBY
      writer.close
      Process.wait(parent)
      orphan = Integer(reader.read)
      expect(leftovers).to include(/process #{orphan} /)
    ensure
      if orphan
        Process.kill(:KILL, orphan)
        Process.wait(orphan)
      end
      reader.close
    end

    it "finds temporary files" do
      file = File.join(Harness::Suite.temporary_files, "left")
      File.write(file, "")
      expect(leftovers).to include(/temporary file left/)
    ensure
      File.delete(file)
    end

    it "finds ports that are still listened on, and sockets in the file system" do
      path = File.join(Harness::Suite.new_directory("sockets"), "left.sock")
      tcp = TCPServer.new("127.0.0.1", Harness::Server.free_port)
      unix = UNIXServer.new(path)
      expect(leftovers).to include("listening port #{tcp.addr[1]}", /socket .*left\.sock/)
    ensure
      [tcp, unix].compact.each(&:close)
      File.delete(path)
    end
  end

  describe "the client" do
    def answer(bytes, **options)
      TCPServer.open("127.0.0.1", 0) do |listener|
        thread = Thread.new do
          socket = listener.accept
          socket.readpartial(1000)
          socket.write(bytes)
          socket.close
        end
        Harness::HTTPClient.open(["127.0.0.1", listener.addr[1]], within: 5) do |client|
          client.request("GET", "/")
          client.read_response(**options)
        end
      ensure
        thread&.join
      end
    end

    it "reads bodies by length, in chunks and up to the end" do
      expect(answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").body).to eq("hello")
      expect(answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-T: 1\r\n\r\n"))
        .to have_attributes(body: "hello", trailers: [%w[x-t 1]])
      expect(answer("HTTP/1.1 200 OK\r\n\r\nhello").body).to eq("hello")
      expect(answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")).to have_attributes(status: 204, informational: [100])
    end

    {
      "two lengths" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
      "length and chunks" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "a bare line feed" => "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
      "a header without a colon" => "HTTP/1.1 200 OK\r\nNonsense\r\n\r\n",
      "a bad chunk size" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "no line end after a chunk" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nheXX0\r\n\r\n",
      "no status line" => "hello\r\n\r\n"
    }.each do |mistake, bytes|
      it "refuses #{mistake}" do
        expect { answer(bytes) }.to raise_error(Harness::HTTPClient::ProtocolError)
      end
    end

    it "notices a body that ends early, and one that never comes" do
      expect { answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell") }.to raise_error(Harness::HTTPClient::ConnectionEnded)
      expect { answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell") }.to raise_error(Harness::HTTPClient::ConnectionEnded)
      TCPServer.open("127.0.0.1", 0) do |listener|
        Harness::HTTPClient.open(["127.0.0.1", listener.addr[1]], within: 0.1) do |client|
          expect { client.read_response }.to raise_error(Harness::DeadlineExceeded)
        end
      end
    end
  end

  describe "the start of a server" do
    it "fails at once, with its output, when the command ends by itself" do
      server = Harness::Server.new(["sh", "-c", "echo the reason; exit 3"], address: ["127.0.0.1", Harness::Server.free_port],
                                                                            directory: Harness::Suite.directory)
      expect { server.start }.to raise_error(Harness::Command::Failed, /exit 3.*the reason/m)
      Harness::Command.running.delete(server)
    end

    it "notices an exit code and a process that stays" do
      port = Harness::Server.free_port
      program = 'require "socket"; s = TCPServer.new("127.0.0.1", ARGV[0]); trap(:TERM) { spawn("sleep 60"); exit 0 }; loop { s.accept.close }'
      server = Harness::Server.new(["ruby", "-e", program, port.to_s], address: ["127.0.0.1", port], directory: Harness::Suite.directory)
      server.start
      expect { server.stop }.to raise_error(Harness::DeadlineExceeded, /sleep 60/)
    ensure
      server&.destroy
    end
  end
end
