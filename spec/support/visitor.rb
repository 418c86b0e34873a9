# frozen_string_literal: true

require "cgi"

module Harness
  # Somebody with a browser, as far as forms and cookies go: one connection, cookies kept, the CSRF token taken from the
  # page that has the form.
  class Visitor
    BOUNDARY = "----form-boundary-of-the-specs"

    attr_reader :page

    def initialize(server)
      @server = server
      @cookies = {}
      @client = server.connect
    end

    def close
      @client.close
    end

    def visit(path, **headers)
      perform("GET", path, **headers)
    end

    # Sends the form of the last page that posts to the given path.
    def submit(path, **fields)
      send_form(path, "authenticity_token" => form_token(path), **fields)
    end

    # Sends just these fields.
    def send_form(path, **fields)
      perform("POST", path, body: URI.encode_www_form(fields.to_a), "Content-Type" => "application/x-www-form-urlencoded")
    end

    # A file is given as [name, type, content].
    def submit_with_files(path, fields, files)
      parts = { "authenticity_token" => form_token(path) }.merge(fields).map do |name, value|
        "--#{BOUNDARY}\r\nContent-Disposition: form-data; name=\"#{name}\"\r\n\r\n#{value}\r\n".b
      end
      parts += files.map do |name, (filename, type, content)|
        "--#{BOUNDARY}\r\nContent-Disposition: form-data; name=\"#{name}\"; filename=\"#{filename}\"\r\n" \
          "Content-Type: #{type}\r\n\r\n".b + content.b + "\r\n"
      end
      perform("POST", path, body: "#{parts.join}--#{BOUNDARY}--\r\n".b,
                            "Content-Type" => "multipart/form-data; boundary=#{BOUNDARY}")
    end

    # Follows the redirect of the last answer.
    def follow
      location = page["location"] or raise "the last answer is no redirect: #{page.inspect}"
      visit(location.sub(%r{\Ahttp://[^/]+}, ""))
    end

    def form_token(path)
      form = page.body[/<form[^>]*action="#{Regexp.escape(path)}".*?<\/form>/m] or
        raise "no form for #{path} on the page: #{page.inspect}"
      CGI.unescapeHTML(form[/name="authenticity_token" value="([^"]+)"/, 1] || raise("the form for #{path} has no token"))
    end

    private

    def perform(method, path, body: nil, **headers)
      headers["Cookie"] = @cookies.map { |name, value| "#{name}=#{value}" }.join("; ") unless @cookies.empty?
      headers["Host"] ||= "127.0.0.1:#{@server.port}"
      @client.request(method, path, body: body, **headers)
      @page = @client.read_response(to: method)
      @page.all("set-cookie").each do |cookie|
        name, value = cookie[/\A[^;]+/].split("=", 2)
        @cookies[name] = value
      end
      @page.body.force_encoding(Encoding::UTF_8)
      @page
    end
  end
end
