# frozen_string_literal: true

# The smallest useful answer: nearly all of what is measured is the server's own work.
body = "Hello world\n"
run ->(_env) { [200, { "content-type" => "text/plain" }, [body]] }
