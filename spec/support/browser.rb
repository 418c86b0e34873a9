# frozen_string_literal: true

require "io/nonblock"

module Harness
  # A headless Chromium, spoken to in the DevTools protocol over a pair of pipes: no driver and no gem between.
  class Browser
    class Failed < StandardError; end

    PROGRAMS = %w[chromium chromium-browser google-chrome].freeze
    # As root (in containers) Chromium's own sandbox cannot be had; /dev/shm is small there.
    FLAGS = %w[--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-extensions
               --disable-background-networking --hide-scrollbars --window-size=1200,900 --remote-debugging-pipe].freeze
    SECONDS = 30
    # Events that tell what is wrong with a page
    COMPLAINTS = { "Runtime.exceptionThrown" => ->(params) { params["exceptionDetails"] },
                   "Runtime.consoleAPICalled" => ->(params) { params["args"] if params["type"] == "error" },
                   "Log.entryAdded" => ->(params) { params["entry"] if params.dig("entry", "level") == "error" } }.freeze

    # What the browser has found wrong since the last visit began: errors in the console, what could not be loaded, what the page's
    # policy forbids.
    attr_reader :complaints

    def self.open
      browser = new
      yield browser
    ensure
      browser&.quit
    end

    def initialize
      @sequence = 0
      @events = []
      @complaints = []
      @buffer = +""
      start
      target = command("Target.createTarget", url: "about:blank")["targetId"]
      @session = command("Target.attachToTarget", targetId: target, flatten: true)["sessionId"]
      %w[Page.enable Runtime.enable Log.enable].each { |method| command(method) }
    end

    def visit(url)
      @events.clear
      @complaints.clear
      answer = command("Page.navigate", url: url)
      raise Failed, "#{url}: #{answer["errorText"]}" if answer["errorText"]

      wait_for("load of #{url}") { @events.delete("Page.loadEventFired") }
      self
    end

    # The value of a JavaScript expression.
    def evaluate(expression)
      answer = command("Runtime.evaluate", expression: expression, returnByValue: true, awaitPromise: true)
      raise Failed, answer["exceptionDetails"].to_s if answer["exceptionDetails"]

      answer["result"]["value"]
    end

    def text
      evaluate("document.body.innerText")
    end

    def fill(selector, value)
      evaluate("(element => { element.focus(); element.value = #{JSON.generate(value)}; " \
               "element.dispatchEvent(new Event('input', { bubbles: true })) })(#{find(selector)})")
    end

    # Clicks what leads to another page, and waits for that page.
    def click(selector)
      @events.clear
      evaluate("#{find(selector)}.click()")
      wait_for("the page after a click on #{selector}") { @events.delete("Page.loadEventFired") }
    end

    # Polls a JavaScript expression until it is true.
    def wait_until(expression)
      wait_for(expression) { evaluate(expression) }
    end

    def screenshot(path)
      FileUtils.mkdir_p(File.dirname(path))
      File.binwrite(path, command("Page.captureScreenshot", format: "png")["data"].unpack1("m"))
      path
    end

    def quit
      command("Browser.close", session: nil) if @waiter&.alive?
    rescue Failed, DeadlineExceeded
      nil # it is killed below
    ensure
      unless @waiter.nil? || @waiter.join(5)
        Process.kill(:KILL, -@pid)
        @waiter.join
      end
      [@out, @in].compact.each(&:close)
    end

    private

    def start
      program = PROGRAMS.find { |name| ENV["PATH"].split(":").any? { |directory| File.executable?(File.join(directory, name)) } }
      raise Failed, "no browser found (#{PROGRAMS.join(", ")}): install the package chromium" unless program

      home = Suite.new_directory("browser")
      from_us, @out = IO.pipe
      @in, to_us = IO.pipe
      # Ruby's pipes do not block; Chromium takes "nothing there yet" for the end.
      [from_us, to_us].each { |side| side.nonblock = false }
      environment = Suite.environment("HOME" => home, "TMPDIR" => home, "XDG_CONFIG_HOME" => home, "XDG_CACHE_HOME" => home)
      @log = File.join(home, "chromium.log")
      @pid = Process.spawn(environment, program, *FLAGS, "--user-data-dir=#{home}/profile", pgroup: true, in: File::NULL,
                           out: @log, err: [:child, :out], 3 => from_us, 4 => to_us, unsetenv_others: true)
      @waiter = Process.detach(@pid)
      [from_us, to_us].each(&:close)
    end

    def find(selector)
      quoted = JSON.generate(selector)
      "(document.querySelector(#{quoted}) || (() => { throw new Error('nothing matches ' + #{quoted}) })())"
    end

    def command(method, session: @session, **parameters)
      id = @sequence += 1
      message = { id: id, method: method, params: parameters }
      message[:sessionId] = session if session
      @out.write("#{JSON.generate(message)}\0")
      deadline = Deadline.new(SECONDS)
      loop do
        received = receive(deadline) or deadline.check!("an answer of the browser to #{method}")
        next unless received && received["id"] == id
        raise Failed, "#{method}: #{received["error"]["message"]}" if received["error"]

        return received["result"]
      end
    rescue Errno::EPIPE
      raise Failed, "the browser has ended:\n#{File.read(@log)}"
    end

    # The next message, nil when none has come in a while; events are noted by their names.
    def receive(deadline)
      until (at = @buffer.index("\0"))
        return unless @in.wait_readable([deadline.left, 0.2].min)

        piece = @in.read_nonblock(65_536, exception: false)
        raise Failed, "the browser has ended:\n#{File.read(@log)}" if piece.nil?

        @buffer << piece unless piece == :wait_readable
      end
      message = JSON.parse(@buffer.slice!(0..at).chomp("\0"))
      note(message) if message["method"]
      message
    end

    def note(event)
      @events << event["method"]
      complaint = COMPLAINTS[event["method"]]&.call(event["params"])
      @complaints << complaint.to_s if complaint
    end

    def wait_for(what)
      deadline = Deadline.new(SECONDS)
      until (result = yield)
        deadline.check!(what)
        receive(Deadline.new(0.05))
      end
      result
    end
  end
end
