# frozen_string_literal: true

# Appends the numbers of a finished RSpec run (its JSON report) to the tally that bin/test sums up.
#   ruby bin/lib/rspec_tally.rb TALLY REPORT STATUS

require "json"

tally_path, report_path, status = ARGV
counts = File.size?(report_path) ? JSON.parse(File.read(report_path))["summary"] : {}
total, failed, skipped = counts.values_at("example_count", "failure_count", "pending_count").map(&:to_i)
passed = total - failed - skipped
failed += counts["errors_outside_of_examples_count"].to_i

# A run that breaks off, fails in a hook of the suite, or finds no example, is a failure that no example shows.
failed += 1 if failed.zero? && (status != "0" || total.zero?)
File.open(tally_path, "a") { |file| file.puts "rspec\t#{passed}\t#{failed}\t#{skipped}" }
exit(failed.zero?)
