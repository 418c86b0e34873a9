# frozen_string_literal: true

RSpec.describe "bodies of one gigabyte", :slow do
  serve "control", max_pool_size: 1

  GIGABYTE = 1 << 30
  PIECE = "x" * (1 << 20)
  # Neither the engine nor a worker may come near the size of the body. What they had before is little.
  BOUND = 200 << 20

  def expect_constant_memory
    [server.pid, *server.processes].each do |process|
      peak = Harness::ProcFS.peak_resident_bytes(process)
      expect(peak).to be_between(1, BOUND), "#{Harness::ProcFS.describe(process)} had #{peak >> 20} MB resident"
    end
  end

  def download(target)
    size = 0
    server.connect(within: 60) do |client|
      client.request("GET", target)
      expect(client.read_response { |piece| size += piece.bytesize }.status).to eq(200)
      expect(client.get("/after").body).to eq("GET /after")
    end
    size
  end

  it "are uploaded in constant memory" do
    server.connect(within: 60) do |client|
      client.write("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: #{GIGABYTE}\r\n\r\n")
      (GIGABYTE / PIECE.bytesize).times { client.write(PIECE) }
      expect(client.read_response.body).to eq(GIGABYTE.to_s)
    end
    expect_constant_memory
    eventually("end of the temporary file") { Dir.empty?(Harness::Suite.temporary_files) }
  end

  it "are uploaded in chunks in constant memory" do
    server.connect(within: 60) do |client|
      client.write("POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
      chunk = "#{PIECE.bytesize.to_s(16)}\r\n#{PIECE}\r\n"
      (GIGABYTE / PIECE.bytesize).times { client.write(chunk) }
      client.write("0\r\n\r\n")
      expect(client.read_response.body).to eq(GIGABYTE.to_s)
    end
    expect_constant_memory
  end

  it "are downloaded in constant memory, from a streamed body" do
    expect(download("/download?size=#{GIGABYTE}")).to eq(GIGABYTE)
    expect_constant_memory
  end

  it "are downloaded in constant memory, from a file" do
    File.open(File.join(server.directory, "sparse"), "wb") { |file| file.truncate(GIGABYTE) }
    expect(download("/file?name=sparse")).to eq(GIGABYTE)
    expect_constant_memory
  end

  it "are kept on disk for a client that does not read them, and for no longer than that" do
    size = 400 << 20
    server.connect(receive_buffer: 4096) do |client|
      client.request("GET", "/download?size=#{size}")
      expect(client.read_status_line[1]).to eq(200)
      # The only worker is free again: it has handed the whole body over.
      expect(server.get("/after", within: 60).body).to eq("GET /after")
      expect_constant_memory
      client.reset
    end
    eventually("end of the temporary file") { Dir.empty?(Harness::Suite.temporary_files) }
  end
end
