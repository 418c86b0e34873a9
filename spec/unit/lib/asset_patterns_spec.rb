# frozen_string_literal: true

require_relative "../../../lib/phusion_passenger/asset_patterns"

RSpec.describe PhusionPassenger::AssetPatterns do
  patterns = described_class::DEFAULT.map { |pattern| Regexp.new(pattern.gsub("{assets}", "/assets")) }

  {
    "Sprockets with SHA-256" => "/assets/application-#{'0a' * 32}.js",
    "Sprockets with MD5, in a directory" => "/assets/admin/deep/logo-#{'0a' * 16}.png",
    "Sprockets' source maps" => "/assets/application-#{'0a' * 32}.js.map",
    "Propshaft" => "/assets/application-1a2b3c4d.css",
    "Propshaft that kept a digest" => "/assets/chunk-1a2b3c4d.digested.js",
    "esbuild with the digit first" => "/assets/main-2BCDEFGH.js",
    "esbuild with the digit last" => "/builds/main-ABCDEFG7.css",
    "esbuild with nothing but digits" => "/assets/main-23456723.js",
    "esbuild behind Propshaft" => "/assets/chunk-ABCDEF09.digested.js",
    "Webpacker" => "/packs/js/application-#{'0a' * 10}.js",
    "Webpacker in a test" => "/packs-test/media/logo-#{'0a' * 16}.svg",
    "Shakapacker" => "/packs/css/1-1a2b3c4d.chunk.css",
    "Vite" => "/vite/assets/application-B_x9-3aZ.js",
    "Vite 2" => "/vite-dev/assets/application.8e2f01ab.css"
  }.each do |sentence, path|
    it("know names of #{sentence}") { expect(patterns).to include(match(path)) }
  end

  {
    "a name without a digest" => "/assets/application.js",
    "a word in capital letters" => "/assets/README-CHANGELO.txt",
    "a digest of another length" => "/assets/application-1a2b3c4d5.js",
    "capital hexadecimal digits in Rails' own digests" => "/assets/application-1A2B3C4D.js",
    "a digest without an extension" => "/assets/application-1a2b3c4d",
    "a name that is only a digest" => "/assets/1a2b3c4d.js",
    "a digest in a directory's name" => "/assets/x-1a2b3c4d.d/readme",
    "another directory" => "/uploads/assets/photo-1a2b3c4d.jpg",
    "a directory with a longer name" => "/assets2/photo-1a2b3c4d.jpg"
  }.each do |sentence, path|
    it("do not take #{sentence} for a digested asset") { expect(patterns).not_to include(match(path)) }
  end

  it "are anchored at both ends" do
    expect(described_class::DEFAULT).to all(start_with("^").and(end_with("$")))
  end
end
