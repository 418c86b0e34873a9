# frozen_string_literal: true

# Runs `go test` with the given arguments and reports: a line per package as it finishes, the output of what failed, and the
# numbers of passed, failed and skipped tests, appended to the file that TALLY names.
#   ruby bin/lib/go_test.rb TALLY ARGUMENTS…

require "io/wait"
require "json"

# Seconds without a word after which it is said which packages are being tested.
QUIET = 20

tally_path, *arguments = ARGV
passed = failed = skipped = 0
output = Hash.new { |hash, key| hash[key] = +"" }
failed_in = Hash.new(0)
tests_in = Hash.new(0)
running = []

finished = lambda do |event|
  package, test = event.values_at("Package", "Test")
  if test
    # Parents of subtests are tests too, and counted as such.
    tests_in[package] += 1
    case event["Action"]
    when "pass" then passed += 1
    when "skip" then skipped += 1
    else
      failed += 1
      failed_in[package] += 1
      puts output[[package, test]]
    end
    output.delete([package, test])
    return
  end

  # A package that fails without a failed test did not build, panicked, or ran out of time.
  if event["Action"] == "fail" && failed_in[package].zero?
    failed += 1
    puts output[package]
    output.each { |(name, test_name), text| puts "#{test_name} had not finished:", text if name == package && test_name }
  end
  verdict = { "pass" => "ok", "fail" => "FAIL", "skip" => "none" }.fetch(event["Action"])
  puts format("  %-4s %s (%s, %.1f s)", verdict, package, "#{tests_in[package]} tests", event["Elapsed"] || 0)
end

# What the go command itself has to say (a wrong flag, a broken module) is no JSON.
read = lambda do |line|
  next puts(line) unless line.start_with?("{")

  event = JSON.parse(line)
  package = event["Package"]
  case event["Action"]
  when "start" then running << package
  when "output" then output[event["Test"] ? [package, event["Test"]] : package] << event["Output"]
  when "build-output" then print event["Output"]
  when "pass", "fail", "skip"
    running.delete(package) unless event["Test"]
    finished.call(event)
  end
end

status = IO.popen(["go", "test", "-json", *arguments], chdir: File.expand_path("../..", __dir__)) do |pipe|
  # IO#gets would hide in its buffer what wait_readable is asked about; so lines are put together here.
  rest = +""
  until pipe.closed?
    unless pipe.wait_readable(QUIET)
      puts "  still running: #{running.empty? ? "the compiler" : running.join(", ")}"
      $stdout.flush
      next
    end
    begin
      rest << pipe.readpartial(65_536)
    rescue EOFError
      pipe.close
    end
    while (line = rest.slice!(/.*\n/)) do read.call(line) end
    $stdout.flush
  end
  read.call(rest) unless rest.empty?
  $?
end

# `go test` that fails without a failed test has not tested anything; nor has one that ran none.
failed += 1 if failed.zero? && (!status.success? || (passed + skipped).zero?)
File.open(tally_path, "a") { |file| file.puts "go test\t#{passed}\t#{failed}\t#{skipped}" }
exit(failed.zero?)
