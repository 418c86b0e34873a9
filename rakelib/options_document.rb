# frozen_string_literal: true

require_relative "../lib/phusion_passenger/options"
require_relative "../lib/phusion_passenger/rack_handler/launch_settings"

# docs/options.md, made from the option table.
module OptionsDocument
  PATH = File.expand_path("../docs/options.md", __dir__)

  INTRODUCTION = <<~TEXT
    # Options

    <!-- Made by `rake docs` from lib/phusion_passenger/options.rb; changes belong there. -->

    An option can be given on the command line of `passenger start` (`--max-pool-size 2`), to `rackup` (`-O max_pool_size=2`),
    and to both, and to `rails server`, in the environment (`PASSENGER_MAX_POOL_SIZE=2`). The command line counts more than
    the environment, which counts more than the defaults. An environment variable that is empty counts as not set.

    Relative paths are relative to the working directory, unless the table says otherwise. True is `true`, `yes`, `on` or `1`;
    false is `false`, `no`, `off` or `0`.

    An option that can be repeated makes a list: each use on the command line adds one element. In a variable and with `-O` the
    elements stand in one text, directories separated by colons, others by blanks. A list that is given takes the place of the
    default.

  TEXT

  ASSETS = <<~TEXT

    ## Digested assets

    What `asset-patterns` matches is sent with `Cache-Control: public, max-age=315360000, immutable`: a file with this name never
    changes. A pattern is a [regular expression of Go](https://pkg.go.dev/regexp/syntax) for the URL's path, decoded and without
    the application's relative URL root; `{assets}` stands for its `config.assets.prefix`. The defaults are

    | names made by | patterns |
    |---|---|
    %s

    ## Directories that may be reached

    A symlink in the directory of static files is followed as long as what it leads to is in that directory or in one of
    `static-symlink-dirs`; `X-Sendfile` may name what is in one of `sendfile-dirs`. Both contain the application's directory. If that
    is really `DIR/releases/NAME`, as Capistrano has it, they contain `DIR/shared` and `DIR/releases`, too.
  TEXT

  HANDLER = <<~TEXT

    ## Under `rails server` and `rackup`

    - Address, port, environment, rackup file and pid file are those of Rails and Rack (`-b`, `-p`, `-e`, `-c`, `-P`;
      `rackup -o`, `-p`, `-E`, `-P`). `PASSENGER_ADDRESS` and `PASSENGER_PORT` count where Rails would fall back on its own
      default. `localhost` is 127.0.0.1.
    - A socket (`-O socket_file=FILE`, `PASSENGER_SOCKET_FILE`) takes the place of an address and port that nobody has typed.
    - In development the default is one worker process (`max_pool_size`) with as many threads (`thread_count`) as
      `RAILS_MAX_THREADS` says, or #{PhusionPassenger::RackHandler::LaunchSettings::DEVELOPMENT_THREADS}. In every other environment the defaults of the table hold, and `RAILS_MAX_THREADS`
      has no meaning for the server. `turbocaching` is off in development under every command.
    - In the background (`rails server -d`, `rackup -D`) the log file's default is `log/passenger.PORT.log` if the application
      has a `log` directory, else `passenger.PORT.log`.
    - `Silent` (for test suites that start the server themselves) and `rackup -q` leave out the greeting.

    ## Signals to the server process

    | signal | what happens |
    |---|---|
    | INT, TERM | stop: no new requests, those in flight have `shutdown-timeout` to finish, exit code 0; a second one stops at once, exit code 1 |
    | HUP | stop, if the server was started in a terminal (which has been closed), else nothing |
    | USR1 | nothing; reserved for reopening log files |
  TEXT

  def self.text
    rows = PhusionPassenger::Options::TABLE.map { |option| row(option) }
    "#{INTRODUCTION}#{(header + rows).join("\n")}\n#{format(ASSETS, patterns.join("\n"))}#{HANDLER}"
  end

  # A bar would end the cell, also inside of code.
  def self.patterns
    PhusionPassenger::AssetPatterns::BY_TOOL.map do |tool, patterns|
      "| #{tool} | #{patterns.map { |pattern| "`#{pattern.gsub('|', '\|')}`" }.join(' ')} |"
    end
  end

  def self.header
    ["| `passenger start` | `rackup -O` | environment | default | meaning |", "|---|---|---|---|---|"]
  end

  def self.row(option)
    switches = [option.short, *option.long.map { |flag| "--#{'[no-]' if option.boolean?}#{flag}" },
                *option.off.map { |flag| "--#{flag}" }].compact
    switches = switches.map { |switch| "`#{[switch, option.metavar].compact.join(' ')}`" }
    handler = option.accepted_by?(:rack_handler) ? "`#{option.name}`" : "–"
    default = (option.default_text || "–").gsub(/\$(\w+)/, '`\1`')
    help = option.list? ? "#{option.help}; can be repeated" : option.help
    "| #{switches.join(', ')} | #{handler} | #{option.env.map { |name| "`#{name}`" }.join(', ')} | #{default} | #{help} |"
  end
end
