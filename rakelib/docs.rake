# frozen_string_literal: true

desc "Write docs/options.md from the option table"
task :docs do
  require_relative "options_document"
  File.write(OptionsDocument::PATH, OptionsDocument.text)
end
