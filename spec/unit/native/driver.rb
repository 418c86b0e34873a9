# frozen_string_literal: true

require "socket"
require "stringio"
require "tempfile"
require "timeout"
require "tmpdir"

root = File.expand_path("../../..", __dir__)
require File.join(root, "lib/phusion_passenger/native.so")
%w[log control early_hints hijack null_input request_handler redaction boot_error].each { |file| require File.join(root, "phusion_passenger", file) }

# Plays the engine against one slot of the extension.
class SlotDriver
  Native = PhusionPassenger::Native
  KEYS = File.readlines(File.expand_path("../../../go/internal/link/env_keys.txt", __dir__), chomp: true).freeze
  TYPES = { 1 => :head, 2 => :body, 3 => :end, 4 => :complete, 5 => :file, 6 => :offer, 7 => :sent, 8 => :failed, 9 => :aborted,
            10 => :hijack, 11 => :interim }.freeze
  NOTICES = { client_gone: 1, socket: 2, no_socket: 3 }.freeze
  Frame = Struct.new(:type, :status, :id, :payload, :descriptor, :bytes) do
    def headers = parsed.first
    def body = parsed.last

    private

    def parsed
      @parsed ||= begin
        size = payload.unpack1("V")
        block = payload.byteslice(4, size)
        pairs = []
        until block.empty?
          name, value = block.unpack("vV")
          pairs << [block.byteslice(6, name), block.byteslice(6 + name, value)]
          block = block.byteslice((6 + name + value)..)
        end
        [pairs, payload.byteslice((4 + size)..)]
      end
    end
  end

  REQUEST = {
    "REQUEST_METHOD" => "GET", "REQUEST_URI" => "/", "PATH_INFO" => "/", "QUERY_STRING" => "",
    "SERVER_PROTOCOL" => "HTTP/1.1", "SERVER_NAME" => "localhost", "SERVER_PORT" => "3000",
    "REMOTE_ADDR" => "127.0.0.1", "REMOTE_PORT" => "50000", "HTTP_HOST" => "localhost:3000"
  }.freeze
  TEMPLATE = {
    "SCRIPT_NAME" => "", "SERVER_SOFTWARE" => "test", "rack.version" => [1, 3], "rack.errors" => StringIO.new,
    "rack.input" => PhusionPassenger::NullInput.new, "rack.url_scheme" => "http", "rack.multithread" => false,
    "rack.multiprocess" => true, "rack.run_once" => false, "rack.hijack?" => true,
    "HTTP_X_SENDFILE_TYPE" => "X-Sendfile", "sendfile.type" => ""
  }.freeze

  attr_reader :slots, :queue, :direct

  # direct: whether the worker has a queue of its own, too; alone: whether the slots wait like those of different workers;
  # workers: how many there are, each with that many slots
  def initialize(slots: 1, template: TEMPLATE, direct: false, alone: false, workers: 1)
    queue, @queue_end = Native.socketpair(:seqpacket)
    @queue = UNIXSocket.for_fd(queue)
    if direct
      own, @direct_end = Native.socketpair(:seqpacket)
      @direct = UNIXSocket.for_fd(own)
    end
    @board = anonymous_file
    all = slots * workers
    @board.truncate(64 * (2 * all + 1))
    @board.pwrite([workers].pack("V"), 64 * all)
    board = Native::Scoreboard.new(@board.fileno)
    turns = Array.new(workers) { |place| Native::Turn.new(board, all, place) } if slots > 1 && !alone
    prepared = Native.env_template(template)
    @streams = []
    @slots = Array.new(all) do |index|
      engine, worker = Native.socketpair(:stream)
      @streams << UNIXSocket.for_fd(engine)
      Native::Slot.new(@queue_end, worker, board, index, prepared, turns && turns[index / slots], @direct_end)
    end
    @sequence = 0
  end

  def slot = @slots.first
  def stream(index = 0) = @streams[index]

  # Descriptors that are still open are closed.
  def finish
    end_queue
    @streams.each { |stream| stream.close unless stream.closed? }
    @slots.each(&:close)
    Native.close_fd(@queue_end)
    if @direct
      @direct.close unless @direct.closed?
      Native.close_fd(@direct_end)
    end
    @board.close
  end

  def end_queue
    @queue.close
  end

  # Puts a request into the queue, or the worker's own one, and returns its id.
  def request(environment = {}, body: "", flags: 0, file: nil, body_length: nil, to: @queue)
    @sequence += 1
    id = (@sequence << 24) | 1
    flags |= 1 if file
    message = encode(REQUEST.merge(environment), id, flags, body_length || (file ? file.size : body.bytesize)) + body.b
    put(message, file ? [file] : [], to)
    id
  end

  def put(message, files = [], queue = @queue)
    rights = Socket::AncillaryData.unix_rights(*files.map(&:to_io)) unless files.empty?
    queue.sendmsg(message, 0, nil, *rights)
  end

  # The env of a request that is put and received at once.
  def receive(...)
    request(...)
    slot.receive
  end

  # The next response frame, nil at the end of the stream.
  def frame(index = 0)
    Timeout.timeout(10) do
      header, descriptor = read_header(index)
      next if header.nil?

      _, type, status, length, id = header.unpack("CCvVQ<")
      payload = length.zero? ? "".b : @streams[index].read(length)
      Frame.new(TYPES.fetch(type), status, id, payload, descriptor, header + payload)
    end
  end

  def frames(index = 0)
    list = []
    loop do
      list << frame(index)
      return list unless %i[head body offer sent hijack interim].include?(list.last&.type)
    end
  end

  # Tells the worker something about a request.
  def notify(notice, id = slot.request_id, socket: nil, index: 0)
    rights = [Socket::AncillaryData.unix_rights(socket)] if socket
    @streams[index].sendmsg([id, NOTICES.fetch(notice), 0].pack("Q<VV"), 0, nil, *rights)
  end

  # The scoreboard's record as a Hash.
  def record(index = 0)
    %i[state pid request_id started_at finished sequence previous_id previous_started_at]
      .zip(@board.pread(56, 64 * index).unpack("VVQ<6")).to_h
  end

  private

  def anonymous_file
    File.open(Dir.tmpdir, File::RDWR | File::TMPFILE, 0o600)
  end

  def encode(environment, id, flags, body_length)
    fields = environment.map do |name, value|
      number = KEYS.index(name)
      key = number ? [number + 1].pack("C") : [0, name.bytesize].pack("Cv") + name.b
      key + [value.bytesize].pack("V") + value.b
    end.join
    [1, 1, flags, 0, fields.bytesize, id, body_length, 0].pack("CCCCVQ<Q<Q<") + fields
  end

  def read_header(index)
    header = "".b
    descriptor = nil
    while header.bytesize < 16
      piece, _, _, control = @streams[index].recvmsg(16 - header.bytesize, scm_rights: true)
      return if piece.empty?

      header << piece
      descriptor ||= control&.unix_rights&.first
    end
    [header, descriptor]
  end
end

RSpec.shared_context "with a slot" do
  let(:driver) { SlotDriver.new }
  let(:slot) { driver.slot }

  after { driver.finish }
end
