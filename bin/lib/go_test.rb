# frozen_string_literal: true

# Runs `go test` with the given arguments and reports: a line per package as it finishes, the output of what failed, and the
# numbers of passed, failed and skipped tests, appended to the file that TALLY names.
#   ruby bin/lib/go_test.rb TALLY ARGUMENTS…

require "json"

tally_path, *arguments = ARGV
passed = failed = skipped = 0
output = Hash.new { |hash, key| hash[key] = +"" }
failed_in = Hash.new(0)
tests_in = Hash.new(0)

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
    output.each { |(name, running), text| puts "#{running} had not finished:", text if name == package && running }
  end
  verdict = { "pass" => "ok", "fail" => "FAIL", "skip" => "none" }.fetch(event["Action"])
  puts format("  %-4s %s (%s, %.1f s)", verdict, package, "#{tests_in[package]} tests", event["Elapsed"] || 0)
end

status = IO.popen(["go", "test", "-json", *arguments], chdir: File.expand_path("../..", __dir__)) do |pipe|
  pipe.each_line do |line|
    # What the go command itself has to say (a wrong flag, a broken module) is no JSON.
    unless line.start_with?("{")
      puts line
      next
    end
    event = JSON.parse(line)
    case event["Action"]
    when "output" then output[event["Test"] ? event.values_at("Package", "Test") : event["Package"]] << event["Output"]
    when "build-output" then print event["Output"]
    when "pass", "fail", "skip" then finished.call(event)
    end
    $stdout.flush
  end
  pipe.close
  $?
end

# `go test` that fails without a failed test has not tested anything; nor has one that ran none.
failed += 1 if failed.zero? && (!status.success? || (passed + skipped).zero?)
File.open(tally_path, "a") { |file| file.puts "go test\t#{passed}\t#{failed}\t#{skipped}" }
exit(failed.zero?)
