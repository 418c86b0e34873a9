# frozen_string_literal: true

module PhusionPassenger
  # Takes secrets out of texts that are shown in a browser or written to a log.
  module Redaction
    MASK = "[redacted]"
    SECRET_NAME = /pass(?:word|wd|phrase)?|secret|token|credential|(?:api|access|private|encryption|signing|master|auth)[_-]?key|auth(?:orization)?|salt|dsn/i
    # `name = "value"`, `name: value`, `"name" => "value"`, `NAME=value`, also within longer names (db_password)
    ASSIGNMENT = /((?<![A-Za-z0-9])[\w-]*(?:#{SECRET_NAME})[\w-]*["']?\]?\s*(?:=>|:|=)\s*)(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;)}&]+)/i
    URL_CREDENTIALS = %r{([a-z][a-z0-9+.-]*://)[^\s/@"']+@}i
    BEARER = /\b(Bearer|Basic)\s+[A-Za-z0-9._~+\/=-]{8,}/
    PEM = /-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)/m
    # Things that are nothing else: AWS key ids, GitHub and Stripe tokens, long runs of hexadecimal digits
    TELLING = /\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|[sr]k_(?:live|test)_[A-Za-z0-9]{8,}|\h{40,})\b/
    ENVIRONMENT_NAME = /PASS|SECRET|TOKEN|CREDENTIAL|KEY|AUTH|DSN|_URL\z/
    # Shorter values of environment variables stand in texts by chance.
    MIN_VALUE_LENGTH = 8

    class << self
      def clean(text, environment = ENV)
        values = secret_values(environment)
        text = text.gsub(Regexp.union(values), MASK) unless values.empty?
        text.gsub(PEM, MASK)
            .gsub(URL_CREDENTIALS) { "#{Regexp.last_match(1)}#{MASK}@" }
            .gsub(BEARER) { "#{Regexp.last_match(1)} #{MASK}" }
            .gsub(ASSIGNMENT) { "#{Regexp.last_match(1)}#{MASK}" }
            .gsub(TELLING, MASK)
      end

      private

      # What the process was told in confidence may appear anywhere, without its name.
      def secret_values(environment)
        environment.filter_map do |name, value|
          next if value.length < MIN_VALUE_LENGTH || !name.match?(ENVIRONMENT_NAME)
          next if name.end_with?("_URL") && !value.match?(URL_CREDENTIALS)
          next if value.start_with?("/") # paths, as in SSH_AUTH_SOCK

          Exceptions.utf8(value)
        end
      end
    end
  end
end
