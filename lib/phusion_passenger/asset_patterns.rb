# frozen_string_literal: true

module PhusionPassenger
  # The names of digested assets, as regular expressions of Go (RE2), which knows no lookahead. They are matched against
  # the decoded URL path below the application's relative URL root; {assets} stands for its config.assets.prefix.
  module AssetPatterns
    # Eight characters of Base32, as esbuild makes them. At least one is a digit: eight capital letters alone may be a
    # word. The alternatives say at which place the first digit is.
    ESBUILD = "(#{(0..7).map { |letters| "[A-Z]{#{letters}}[2-7][A-Z2-7]{#{7 - letters}}" }.join('|')})"

    # What makes such names => the patterns
    BY_TOOL = {
      "Sprockets" => ['^{assets}/.+-([0-9a-f]{64}|[0-9a-f]{32})\.[^/]+$'],
      "Propshaft" => ['^{assets}/.+-[0-9a-f]{8}(\.digested)?\.[^/]+$'],
      "esbuild (jsbundling-rails)" => [
        "^({assets}|/builds)/.+-#{ESBUILD}\\.[^/]+$",
        '^({assets}|/builds)/.+-[0-9A-Z]{8}\.digested\.[^/]+$'
      ],
      "Webpacker, Shakapacker" => ['^/packs(-test)?/.+-([0-9a-f]{8}|[0-9a-f]{20}|[0-9a-f]{32})\.[^/]+$'],
      "Vite Ruby" => ['^/vite[^/]*/assets/.+[-.][0-9A-Za-z_-]{8}\.[^/]+$']
    }.freeze

    DEFAULT = BY_TOOL.values.flatten.freeze
  end
end
