-- Asks for one of the files /many/00000.bin … at random. The number of files is the script's argument.
-- Each thread has a sequence of its own, the same in every run.
local threads = 0
local requests = {}

function setup(thread)
  threads = threads + 1
  thread:set("seed", threads)
end

function init(args)
  math.randomseed(seed)
  for number = 0, tonumber(args[1]) - 1 do
    requests[number + 1] = wrk.format("GET", string.format("/many/%05d.bin", number))
  end
end

function request()
  return requests[math.random(#requests)]
end
