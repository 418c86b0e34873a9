# frozen_string_literal: true

module Harness
  # The applications that the specs serve, each copied into a directory of its own so that nothing is ever written
  # into the project's tree.
  module Apps
    SOURCE = File.join(__dir__, "apps")

    module_function

    # A directory with config.ru from spec/support/apps/NAME.ru (or the given text) and further files.
    def directory(name, files = {})
      path = Suite.new_directory("app-#{name}")
      source = File.join(SOURCE, "#{name}.ru")
      FileUtils.cp(source, File.join(path, "config.ru")) if File.exist?(source)
      files.each { |relative, text| write(path, relative, text) }
      FileUtils.mkdir_p([File.join(path, "tmp"), File.join(path, "public")])
      path
    end

    def write(path, relative, text)
      file = File.join(path, relative)
      FileUtils.mkdir_p(File.dirname(file))
      File.binwrite(file, text)
      file
    end

    # An application that answers everything with one text.
    def hello(text = "hello")
      directory("hello", "config.ru" => <<~RUBY)
        run ->(_env) { [200, { "content-type" => "text/plain" }, [#{text.inspect}]] }
      RUBY
    end
  end
end
